"""Clips of the user's: manifests with errors, layouts, clips without a face."""

import numpy as np
import pytest

from omnisync_core.errors import UserError
from omnisync_core.evaluation import own_clips
from omnisync_core.evaluation.built_in import write_sound
from omnisync_core.locator import MouthLocator

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
