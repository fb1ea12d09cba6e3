import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from media_files import ffmpeg

from omnisync_core import cli
from omnisync_core.checkpoint import save_model, weights_path
from omnisync_core.config import ModelConfig
from omnisync_core.media import probe_video, read_frames
from omnisync_core.model import OmniSync


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six frames of 64 x 48 with sound."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    picture, sound = "testsrc2=size=64x48:rate=25", "sine=frequency=300"
    ffmpeg("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound, "-t", "0.24", path)
    return path


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("voice") / "voice.wav"
    ffmpeg("-f", "lavfi", "-i", "aevalsrc=0.5*sin(900*t)*sin(20*t):s=22050", "-t", "0.3", path)
    return path


@pytest.fixture
def weights(tiny: ModelConfig, tmp_path: Path) -> Path:
    """An untrained model, which returns its input."""
    path = tmp_path / "tiny.safetensors"
    save_model(OmniSync(replace(tiny, crop=32)), path)
    return path


@pytest.fixture
def moved_weights(tiny: ModelConfig, tmp_path: Path) -> Path:
    """A model away from its start, which changes pictures."""
    torch.manual_seed(0)
    model = OmniSync(replace(tiny, crop=32))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    path = tmp_path / "moved.safetensors"
    save_model(model, path)
    return path


QUICK = ["--steps", "2", "--region", "12,4,40,40"]


def sync(clip: Path, voice: Path, output: Path, weights: Path | str, *more: str | Path) -> int:
    paths = [clip, voice, "-o", output, "--model", weights]
    return cli.main(["sync", *map(str, [*paths, *QUICK, *more])])


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    """What stands on standard error: one line that names the program."""
    text = capsys.readouterr().err
    assert text.startswith("omnisync: ") and text.count("\n") == 1, text
    return text


def test_a_clip_and_a_voice_give_a_clip_and_a_summary(clip, voice, weights, tmp_path, capsys):
    assert sync(clip, voice, tmp_path / "out.mp4", weights) == 0
    info = probe_video(tmp_path / "out.mp4")
    assert (info.frames, info.width, info.height, info.has_audio) == (6, 64, 48, True)
    assert "6 frames, 6 edited" in capsys.readouterr().out


def test_an_untrained_model_returns_the_source_bit_for_bit(clip, voice, weights, tmp_path):
    assert sync(clip, voice, tmp_path / "out.mp4", weights, "--lossless") == 0
    for before, after in zip(read_frames(clip), read_frames(tmp_path / "out.mp4"), strict=True):
        assert np.array_equal(before, after)


def test_the_same_seed_gives_the_same_bytes(clip, voice, moved_weights, tmp_path):
    for name, seed in (("a.mkv", "3"), ("b.mkv", "3"), ("c.mkv", "4")):
        assert sync(clip, voice, tmp_path / name, moved_weights, "--seed", seed, "--lossless") == 0
    a, b, c = (np.stack(list(read_frames(tmp_path / name))) for name in ("a.mkv", "b.mkv", "c.mkv"))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_the_voice_may_come_from_a_video(clip, weights, tmp_path):
    assert sync(clip, clip, tmp_path / "out.mp4", weights) == 0


def test_compare_doubles_the_width(clip, voice, weights, tmp_path):
    assert sync(clip, voice, tmp_path / "o.mp4", weights, "--compare", tmp_path / "both.mp4") == 0
    assert probe_video(tmp_path / "both.mp4").width == 128


@pytest.mark.parametrize("name", ["out.mp4", "out.mov", "out.mkv"])
def test_the_output_says_that_it_was_edited(clip, voice, weights, tmp_path, name):
    assert sync(clip, voice, tmp_path / name, weights) == 0
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(tmp_path / name)]
    shown = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL).stderr.decode()
    assert "Edited with OmniSync" in shown


def test_frames_without_a_mouth_are_counted_in_the_summary(clip, voice, weights, tmp_path, capsys):
    boxes = tmp_path / "boxes.json"
    boxes.write_text("[[12,4,40,40],[12,4,40,40],null,null,null,[12,4,40,40]]")
    assert sync(clip, voice, tmp_path / "out.mp4", weights, "--region", boxes) == 0
    said = capsys.readouterr().out
    assert "3 edited, 3 without a visible mouth passed through unchanged" in said


def test_what_cannot_be_used_is_one_sentence_and_code_2(clip, voice, weights, tmp_path, capsys):
    picture, mute, text = tmp_path / "p.png", tmp_path / "mute.mp4", tmp_path / "notes.mp4"
    ffmpeg("-i", clip, "-frames:v", "1", picture)
    ffmpeg("-i", clip, "-an", "-c", "copy", mute)
    text.write_text("no video at all")
    (tmp_path / "cut.mp4").write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    pickle, folder = tmp_path / "model.pt", tmp_path / "out"
    torch.save({"weight": torch.zeros(2)}, pickle)
    folder.mkdir()
    out = folder / "out.mp4"
    cases: list[tuple[list[Path | str], str]] = [
        ([tmp_path / "none.mp4", voice, out, weights], "none.mp4"),
        ([tmp_path, voice, out, weights], "folder"),
        ([picture, voice, out, weights], "picture"),
        ([voice, voice, out, weights], "video"),
        ([text, voice, out, weights], "notes.mp4"),
        ([tmp_path / "cut.mp4", voice, out, weights], "cut off"),
        ([clip, tmp_path / "none.wav", out, weights], "none.wav"),
        ([clip, mute, out, weights], "sound"),
        ([clip, voice, out, weights, "--steps", "0"], "steps"),
        ([clip, voice, out, weights, "--steps", "1001"], "steps"),
        ([clip, voice, out, weights, "--tau", "nan"], "tau"),
        ([clip, voice, out, weights, "--overlap", "99"], "overlap"),
        ([clip, voice, out, tmp_path / "none.safetensors"], "none.safetensors"),
        ([clip, voice, out, "huge"], "huge"),
        ([clip, voice, out, pickle], "ickle"),
        ([clip, voice, tmp_path / "nowhere/out.mp4", weights], "nowhere"),
        ([clip, voice, folder / "out.gif", weights], ".mp4"),
        ([clip, voice, folder, weights], "folder"),
        ([clip, voice, clip, weights], "input"),
        ([clip, voice, out, weights, "--compare", tmp_path / "nowhere/b.mp4"], "nowhere"),
        ([clip, voice, out, weights, "--compare", out], "compare"),
        ([clip, voice, out, weights, "--region", "1,2,3"], "region"),
        ([clip, voice, out, weights, "--region", "900,0,40,40"], "inside"),
        ([clip, voice, out, weights, "--device", "abacus"], "device"),
    ]
    for arguments, word in cases:
        assert sync(*arguments) == 2, arguments  # type: ignore[arg-type]
        assert word in complaint(capsys), arguments
        assert list(folder.iterdir()) == [], arguments


@pytest.mark.parametrize(
    "more",
    [["--profile", "loud"], ["--length", "forever"], ["--steps", "many"], ["--dtype", "int8"]],
)
def test_an_unknown_choice_is_code_2_and_lists_the_known_ones(clip, voice, tmp_path, more, capsys):
    with pytest.raises(SystemExit) as stopped:
        sync(clip, voice, tmp_path / "out.mp4", "mini", *more)
    assert stopped.value.code == 2
    assert more[0] in capsys.readouterr().err


def test_ctrl_c_while_editing_leaves_no_file_and_code_130(
    clip, voice, weights, tmp_path, capsys, monkeypatch
):
    def interrupt(self: cli.ProgressBar, progress) -> None:
        if progress.stage == "edit" and progress.done > 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(cli.ProgressBar, "__call__", interrupt)
    folder = tmp_path / "out"
    folder.mkdir()
    both = folder / "both.mp4"
    assert sync(clip, voice, folder / "out.mp4", weights, "--compare", both) == 130
    assert list(folder.iterdir()) == []
    assert "stopped" in capsys.readouterr().err


def test_a_killed_command_goes_on_with_resume(voice, moved_weights, tmp_path):
    long, output = tmp_path / "long.mp4", tmp_path / "out.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25", "-frames:v", "60", long)
    more = [*QUICK, "--window", "4", "--overlap", "1", "--steps", "20"]
    assert sync(long, voice, tmp_path / "whole.mp4", moved_weights, *more) == 0
    command = [sys.executable, "-m", "omnisync_core.cli", "sync", long, voice, "-o", output]
    command += ["--resume", "--model", moved_weights, *more]
    state = tmp_path / ".out.mp4.work/state.npz"
    root = str(Path(cli.__file__).parents[1])
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": root}) as child:
        while not state.exists() and child.poll() is None:
            time.sleep(0.01)
        child.kill()
    assert state.exists() and not output.exists()
    assert sync(long, voice, output, moved_weights, *more, "--resume") == 0
    assert output.read_bytes() == (tmp_path / "whole.mp4").read_bytes()
    assert not list(tmp_path.glob(".*"))  # neither the kept work nor the killed run's part


def test_an_existing_output_survives_a_failed_run(clip, weights, tmp_path):
    (tmp_path / "out.mp4").write_bytes(b"precious")
    assert sync(clip, tmp_path / "none.wav", tmp_path / "out.mp4", weights) == 2
    assert (tmp_path / "out.mp4").read_bytes() == b"precious"


def test_help_names_every_length_mode(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["sync", "--help"])
    assert stopped.value.code == 0
    said = capsys.readouterr().out
    assert all(f"\n  {mode} " in said for mode in ("silence", "cut", "loop", "bounce", "freeze"))


@pytest.mark.skipif(
    not weights_path("mini").is_file(), reason="the embedded weights are not in this checkout"
)
def test_the_demo_runs_and_says_where_its_result_lies(tmp_path, monkeypatch, capsys):
    assert cli.main(["demo", "-o", str(tmp_path / "demo")]) == 0
    said = capsys.readouterr().out
    for name in ("result.mp4", "compare.mp4"):
        assert str(tmp_path / "demo" / name) in said
        assert probe_video(tmp_path / "demo" / name).frames > 50
