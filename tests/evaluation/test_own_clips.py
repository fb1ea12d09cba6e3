"""Clips of the user's: manifests with errors, layouts, clips without a face, landmarks."""

import json
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

import omnisync_core
from omnisync_core.errors import UserError
from omnisync_core.evaluation import own_clips
from omnisync_core.evaluation.built_in import write_sound
from omnisync_core.evaluation.clips import load_clip
from omnisync_core.locator import MouthLocator
from omnisync_core.media import read_frames

from .conftest import write_video


def manifest(tmp_path, line, header="video,voice,track"):
    for name in ("a.mp4", "b.wav"):
        (tmp_path / name).touch()
    path = tmp_path / "clips.csv"
    path.write_text(f"{header}\n{line}\n")
    return path


def test_a_manifest_gives_its_clips(tmp_path):
    (entry,) = own_clips.read_entries(manifest(tmp_path, "a.mp4,b.wav,snr"))
    assert (entry.name, entry.track) == ("a", "snr") and entry.video == tmp_path / "a.mp4"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("a.mp4,,snr", "line 2: voice missing"),
        ("c.mp4,b.wav,snr", "line 2: video: there is no file"),
        ("a.mp4,b.wav,hard", "line 2: track must be one of"),
        ("a.mp4,b.wav", "line 2: expected 3 fields"),
        ("a.mp4,b.wav,snr\na.mp4,b.wav,snr", "line 3: name 'a' is that of another line"),
    ],
)
def test_an_error_names_its_line_and_field(tmp_path, line, words):
    with pytest.raises(UserError, match=words):
        own_clips.read_entries(manifest(tmp_path, line))


def test_an_unknown_field_and_a_name_with_folders_are_refused(tmp_path):
    with pytest.raises(UserError, match="no field 'colour'"):
        own_clips.read_entries(manifest(tmp_path, "a.mp4,b.wav,red", "video,voice,colour"))
    with pytest.raises(UserError, match="plain file name"):
        own_clips.read_entries(manifest(tmp_path, "a.mp4,b.wav,../a", "video,voice,name"))


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_voxceleb_clips_get_the_voice_of_another_person(tmp_path):
    touch(tmp_path, "id1/v1/001.mp4", "id1/v1/002.mp4", "id2/v1/001.mp4")
    entries = own_clips.read_entries(tmp_path)
    assert [e.name for e in entries] == ["id1-v1-001", "id1-v1-002", "id2-v1-001"]
    assert all(e.video.parts[-3] != e.voice.parts[-3] for e in entries)


def test_mead_clips_are_grouped_by_emotion_and_hdtf_by_person(tmp_path):
    touch(tmp_path / "mead", *(f"{m}/video/front/angry/level_1/001.mp4" for m in ("M003", "W009")))
    assert {e.group for e in own_clips.read_entries(tmp_path / "mead")} == {"angry"}
    touch(tmp_path / "hdtf", "WDA_Obama_000.mp4", "WDA_Obama_001.mp4", "WRA_Cruz_000.mp4")
    for entry in own_clips.read_entries(tmp_path / "hdtf"):
        assert entry.video.stem[:8] != entry.voice.stem[:8]


def test_sounds_that_a_layout_keeps_apart_are_found(tmp_path):
    vox, mead = tmp_path / "vox", tmp_path / "mead"
    touch(vox, "dev/mp4/id1/v/001.mp4", "dev/mp4/id2/v/001.mp4", "dev/aac/id2/v/001.m4a")
    first = own_clips.read_entries(vox)[0]
    assert first.voice == vox / "dev/aac/id2/v/001.m4a"
    touch(mead, *(f"{m}/video/front/sad/level_1/001.mp4" for m in ("M003", "W009")))
    touch(mead, "W009/audio/sad/level_1/001.m4a")
    assert own_clips.read_entries(mead)[0].voice == mead / "W009/audio/sad/level_1/001.m4a"


def test_a_generated_clip_may_have_a_voice_of_its_own(tmp_path):
    touch(tmp_path, "video/1.mp4", "video/2.mp4", "audio/0.wav", "audio/2.wav")
    voices = {e.name: e.voice.name for e in own_clips.read_entries(tmp_path)}
    assert voices == {"1": "0.wav", "2": "2.wav"}


def test_generated_clips_take_the_voices_beside_them(tmp_path):
    touch(tmp_path, "videos/anime/1.mp4", "videos/2.mp4", "voices/a.wav")
    by_name = {e.name: e for e in own_clips.read_entries(tmp_path)}
    assert by_name["anime-1"].group == "anime" and by_name["anime-1"].track == "style"
    assert by_name["2"].voice.name == "a.wav"


def test_a_folder_of_one_person_or_of_nothing_is_refused(tmp_path):
    with pytest.raises(UserError, match="none of the layouts"):
        own_clips.read_entries(tmp_path)
    touch(tmp_path, "id1/v1/001.mp4")
    with pytest.raises(UserError, match="one person only"):
        own_clips.read_entries(tmp_path)


def entry(tmp_path, frames, seconds=1.5):
    write_video(tmp_path / "a.mp4", frames)
    write_sound(tmp_path / "b.wav", np.zeros(int(16_000 * seconds), np.float32))
    return own_clips.Entry("a", tmp_path / "a.mp4", tmp_path / "b.wav")


def test_a_clip_without_a_face_is_told_and_the_rest_goes_on(tmp_path):
    grey = np.full((40, 64, 64, 3), 128, np.uint8)
    one = entry(tmp_path, grey)
    ((folder, why),) = own_clips.prepare_entries([one], tmp_path / "items", seconds=8)
    assert "a face is found in 0 of" in why and not (folder / "item.json").exists()


def test_a_voice_below_a_second_is_refused(tmp_path):
    one = entry(tmp_path, np.zeros((40, 64, 64, 3), np.uint8), seconds=0.5)
    with pytest.raises(UserError, match=r"0\.50 s in common"):
        own_clips.prepare_entry(one, tmp_path / "item", MouthLocator.load(), seconds=8)


def demo_face(folder, *names):
    """The demo character, a second long and 128 pixels wide, as videos with these names."""
    demo = Path(omnisync_core.__file__).parent / "demo" / "character.mp4"
    frames = [cv2.resize(f, (128, 128)) for f in islice(read_frames(demo), 28)]
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_video(folder / name, np.stack(frames))


def sound(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_sound(path, np.sin(np.arange(24_000) / 5).astype(np.float32) * 0.1)


LAYOUTS = {
    "voxceleb2": (
        ("mp4/id1/v/001.mp4", "mp4/id2/v/001.mp4"),
        ("aac/id1/v/001.wav", "aac/id2/v/001.wav"),
    ),
    "mead": (
        ("M003/video/front/sad/level_1/001.mp4", "W009/video/front/sad/level_1/001.mp4"),
        ("M003/audio/sad/level_1/001.wav", "W009/audio/sad/level_1/001.wav"),
    ),
    "generated": (("videos/anime/1.mp4", "videos/oil/2.mp4"), ("voices/a.wav",)),
}


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_a_small_folder_in_every_layout_becomes_clips(tmp_path, layout):
    videos, sounds = LAYOUTS[layout]
    demo_face(tmp_path / "set", *videos)
    for name in sounds:
        sound(tmp_path / "set" / name)
    entries = own_clips.read_entries(tmp_path / "set")
    found = list(own_clips.prepare_entries(entries, tmp_path / "items", seconds=8))
    assert [why for _, why in found] == ["", ""]
    for folder, _ in found:
        item = load_clip(folder)
        assert len(item.source) >= 25 and len(item.sound) >= 16_000
        assert item.numbers["centres"].shape == (len(item.source), 2)


def test_a_silent_video_whose_sound_is_needed_is_told(tmp_path):
    demo_face(tmp_path, "WDA_A_000.mp4", "WRA_B_000.mp4")
    entries = own_clips.read_entries(tmp_path)
    found = list(own_clips.prepare_entries(entries, tmp_path / "items", seconds=8))
    assert all("WDA_A_000" in why or "WRA_B_000" in why for _, why in found)


def with_marks(tmp_path, **arrays):
    demo_face(tmp_path, "a.mp4")
    sound(tmp_path / "b.wav")
    np.savez(tmp_path / "marks.npz", **arrays)
    video, voice = tmp_path / "a.mp4", tmp_path / "b.wav"
    return own_clips.Entry("a", video, voice, landmarks=tmp_path / "marks.npz")


def test_landmarks_of_the_users_make_the_clips_own_ruler(tmp_path):
    lips = np.random.default_rng(0).uniform(50, 80, (28, 20, 2))
    eyes = np.tile([(50.0, 50.0), (80.0, 50.0)], (28, 1, 1))
    one = with_marks(tmp_path, lips=lips, eyes=eyes)
    own_clips.prepare_entry(one, tmp_path / "item", MouthLocator.load(), seconds=8)
    item = load_clip(tmp_path / "item")
    assert item.ruler is not None and item.numbers["source_lips"].shape[1] == 40
    apart = np.linalg.norm(lips[:, 18] - lips[:, 14], axis=1)[: len(item.source)]
    assert item.numbers["source"] * item.numbers["sides"] == pytest.approx(apart)


def test_landmarks_that_do_not_fit_are_told(tmp_path):
    short = with_marks(tmp_path, lips=np.zeros((5, 20, 2)), eyes=np.zeros((5, 2, 2)))
    with pytest.raises(UserError, match=r"landmarks: expected lips \[\d+, 20, 2\]"):
        own_clips.prepare_entry(short, tmp_path / "item", MouthLocator.load(), seconds=8)
    other = with_marks(tmp_path, points=np.zeros(3))
    with pytest.raises(UserError, match=r"landmarks: expected an .npz with lips"):
        own_clips.prepare_entry(other, tmp_path / "item", MouthLocator.load(), seconds=8)
    assert not (tmp_path / "item" / "item.json").exists()


def test_a_truth_that_is_shorter_than_its_video_is_told(tmp_path):
    demo_face(tmp_path, "a.mp4")
    sound(tmp_path / "b.wav")
    write_video(tmp_path / "t.mp4", np.zeros((20, 128, 128, 3), np.uint8))
    words = {"video": "a.mp4", "voice": "b.wav", "truth": "t.mp4"}
    (tmp_path / "clips.jsonl").write_text(json.dumps(words))
    entries = own_clips.read_entries(tmp_path / "clips.jsonl")
    ((_, why),) = own_clips.prepare_entries(entries, tmp_path / "items", seconds=8)
    assert "truth: expected at least" in why and "got 20 of 128 x 128" in why
