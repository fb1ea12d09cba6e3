"""What can be wrong with clips and methods, through the command line: told, counted, survived."""

import csv
import shutil
import sys
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

import omnisync_core
from omnisync_core.cli import main
from omnisync_core.evaluation import methods
from omnisync_core.evaluation.built_in import write_sound
from omnisync_core.media import read_frames

from .conftest import write_video

DEMO = Path(omnisync_core.__file__).parent / "demo" / "character.mp4"
LENGTHS = {"fine": 1.1, "crash": 1.2, "hang": 1.3, "broken": 1.4, "short": 1.5, "small": 1.6}
"""Clip -> seconds of its voice, by which the tool knows what to do."""


def face(seconds: float, side: int = 128) -> np.ndarray:
    """The demo character, uint8 [f, side, side, 3]."""
    frames = islice(read_frames(DEMO), round(25 * seconds))
    return np.stack([cv2.resize(f, (side, side), interpolation=cv2.INTER_AREA) for f in frames])


def copied(worker, item, out):
    """In place of the model, whose own failures are tested elsewhere."""
    shutil.copyfile(item / "source.mp4", out)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on six faces and a grey wall, with a tool that fails in five ways."""
    room = tmp_path_factory.mktemp("bad")
    write_video(room / "face.mp4", face(2.0))
    write_video(room / "wall.mp4", np.full((40, 128, 128, 3), 128, np.uint8))
    write_video(room / "short.mp4", face(0.6))
    write_video(room / "small.mp4", face(1.6, side=96))
    lines = ["video,voice,name", "wall.mp4,fine.wav,wall"]
    for name, seconds in LENGTHS.items():
        tone = np.sin(np.arange(int(16_000 * seconds)) / 5) * 0.1
        write_sound(room / f"{name}.wav", tone)
        lines.append(f"face.mp4,{name}.wav,{name}")
    (room / "clips.csv").write_text("\n".join(lines))
    (room / "tool.py").write_text(
        "import os, shutil, sys, time\n"
        f"lengths = {LENGTHS!r}\n"
        "seconds = (os.path.getsize(sys.argv[2]) - 44) / 32000\n"
        "name = min(lengths, key=lambda n: abs(lengths[n] - seconds))\n"
        "if name == 'crash': sys.exit('out of memory')\n"
        "if name == 'hang': time.sleep(600)\n"
        "if name == 'broken': open(sys.argv[3], 'w').write('no video')\n"
        f"elif name in ('short', 'small'): shutil.copy(rf'{room}/' + name + '.mp4', sys.argv[3])\n"
        "else: shutil.copy(sys.argv[1], sys.argv[3])\n"
    )
    tool = f"command:{sys.executable} -S -E {room / 'tool.py'} {{video}} {{voice}} {{output}}"
    words = ["bench", "-o", str(room / "run"), "--clips", str(room / "clips.csv")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(methods.Worker, "produce", copied)
        code = main([*words, "--method", tool, "--timeout", "10"])
    with (room / "run" / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    return code, {(r["method"].split(":")[0].split()[0], r["name"]): r for r in rows}


def test_failures_are_counted_and_the_rest_goes_on(run):
    code, rows = run
    assert code == 1
    assert rows["command", "fine"]["status"] == "ok"
    assert all(rows["omnisync", name]["status"] == "ok" for name in LENGTHS)
    failed = {name for (method, name), row in rows.items() if row["status"] == "failed"}
    assert failed == {"crash", "hang", "broken", "short", "small"}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("crash", "code 1: out of memory"),
        ("hang", "more than 10 s"),
        ("broken", "was never finished"),
        ("short", "keep length, size and rate"),
        ("small", "keep length, size and rate"),
    ],
)
def test_a_failure_says_why(run, name, words):
    assert words in run[1]["command", name]["error"]


def test_a_clip_without_a_face_is_left_out(run):
    assert not [name for _, name in run[1] if name == "wall"]


def test_video_and_voice_of_unequal_length_are_cut_to_the_shorter(run):
    assert int(run[1]["command", "fine"]["frames"]) == pytest.approx(1.1 * 25, abs=1)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("no.mp4,fine.wav,", "line 2: video: there is no file"),
        ("face.mp4,no.wav,", "line 2: voice: there is no file"),
        ("face.mp4,,", "line 2: voice missing"),
        ("face.mp4,fine.wav,hard", "line 2: track must be one of"),
        ("face.mp4", "line 2: expected 3 fields"),
    ],
)
def test_a_manifests_error_names_line_and_field(tmp_path, capsys, line, words):
    for name in ("face.mp4", "fine.wav"):
        (tmp_path / name).touch()
    manifest = tmp_path / "clips.csv"
    manifest.write_text(f"video,voice,track\n{line}\n")
    assert main(["bench", "-o", str(tmp_path / "run"), "--clips", str(manifest)]) == 2
    assert words in capsys.readouterr().err


def test_a_video_that_does_not_open_is_named_and_left_out(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(methods.Worker, "produce", copied)
    (tmp_path / "face.mp4").write_text("no video")
    write_sound(tmp_path / "b.wav", np.zeros(32_000, np.float32))
    (tmp_path / "clips.csv").write_text("video,voice\nface.mp4,b.wav\n")
    words = ["bench", "-o", str(tmp_path / "run"), "--clips", str(tmp_path / "clips.csv")]
    assert main(words) == 1
    assert "line 2" in capsys.readouterr().out


@pytest.mark.parametrize("option", ["--syncnet", "--fid", "--fvd", "--embedder", "--model"])
def test_weights_of_another_kind_are_told_before_anything_runs(tmp_path, capsys, option):
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"something else")
    assert main(["bench", "-o", str(tmp_path / "run"), option, str(weights)]) == 2
    assert "weights.safetensors" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
