import json
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from omnisync_core.batch import read_manifest
from omnisync_core.checkpoint import save_model
from omnisync_core.cli import main
from omnisync_core.config import ModelConfig, SyncOptions
from omnisync_core.errors import UserError
from omnisync_core.media import FrameWriter
from omnisync_core.model import OmniSync

VOICE = 0.5 * np.sin(np.arange(6000) * 0.3, dtype=np.float32)[None]
HEADER = "video,audio,output,region,steps,lossless\n"


def _write_clip(path: Path, frames: int) -> None:
    """A clip of noise, and the voice as its sound."""
    rng = np.random.default_rng(frames)
    with FrameWriter(path, width=64, height=48, rate=Fraction(25), audio=(VOICE, 16000)) as file:
        for _ in range(frames):
            file.write(rng.integers(0, 255, (48, 64, 3), np.uint8))


@pytest.fixture
def folder(tmp_path: Path, tiny: ModelConfig) -> Path:
    """Three clips, a voice, weights that change pictures."""
    for i in range(3):
        _write_clip(tmp_path / f"clip{i}.mp4", 5 + i)
    _write_clip(tmp_path / "voice.mkv", 1)
    torch.manual_seed(0)
    model = OmniSync(replace(tiny, crop=32))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    save_model(model, tmp_path / "weights.safetensors")
    return tmp_path


def _manifest(folder: Path, name: str, *, broken: bool = False) -> Path:
    (folder / name).mkdir()
    lines = [f'../clip{i}.mp4,../voice.mkv,out{i}.mkv,"12,4,40,40",{1 + i},yes\n' for i in range(3)]
    if broken:
        lines[1] = lines[1].replace("12,4,40,40", "900,4,40,40")  # known only when the clip is read
    path = folder / name / "jobs.csv"
    path.write_text(HEADER + "".join(lines))
    return path


def _batch(folder: Path, manifest: Path, *more: str) -> int:
    weights = str(folder / "weights.safetensors")
    return main(["batch", str(manifest), "--model", weights, "--device", "cpu", *more])


def test_two_workers_give_the_bytes_of_one(folder: Path, capsys) -> None:
    one, two = _manifest(folder, "one"), _manifest(folder, "two")
    assert _batch(folder, one) == 0 and _batch(folder, two, "--workers", "2") == 0
    for i in range(3):
        name = f"out{i}.mkv"
        assert (one.parent / name).read_bytes() == (two.parent / name).read_bytes()
    assert "3/3" in capsys.readouterr().out
    assert len(list(two.parent.iterdir())) == 4  # the manifest and three clips


def test_two_workers_of_a_cluster_give_the_bytes_of_one_here(folder: Path, capsys) -> None:
    pytest.importorskip("ray", reason="needs the extra `cluster`")
    one, two = _manifest(folder, "one"), _manifest(folder, "two", broken=True)
    assert _batch(folder, one) == 0
    assert _batch(folder, two, "--cluster", "ray", "--workers", "2") == 1
    assert "out1.mkv: failed: " in capsys.readouterr().out
    for name in ("out0.mkv", "out2.mkv"):
        assert (one.parent / name).read_bytes() == (two.parent / name).read_bytes()
    two.write_text(two.read_text().replace("900", "12"))  # and an interrupted manifest goes on
    assert _batch(folder, two, "--cluster", "ray") == 0
    assert "2 of 3 outputs exist already" in capsys.readouterr().out
    assert (one.parent / "out1.mkv").read_bytes() == (two.parent / "out1.mkv").read_bytes()


def test_a_cluster_without_its_extra_is_one_sentence(folder: Path, capsys, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert _batch(folder, _manifest(folder, "jobs"), "--cluster", "ray") == 2
    assert "extra `cluster`" in capsys.readouterr().err


def test_a_clip_that_fails_does_not_stop_the_others_and_the_next_run_does_the_rest(
    folder: Path, capsys
) -> None:
    manifest = _manifest(folder, "jobs", broken=True)
    assert _batch(folder, manifest) == 1
    assert "out1.mkv: failed: " in capsys.readouterr().out
    written = {p.name: p.stat().st_mtime_ns for p in manifest.parent.glob("*.mkv")}
    assert set(written) == {"out0.mkv", "out2.mkv"}
    manifest.write_text(manifest.read_text().replace("900", "12"))
    assert _batch(folder, manifest) == 0
    assert "2 of 3 outputs exist already" in capsys.readouterr().out
    assert (manifest.parent / "out1.mkv").exists()
    for name, time in written.items():
        assert (manifest.parent / name).stat().st_mtime_ns == time


def test_json_lines_are_read_and_paths_are_relative_to_the_manifest(folder: Path) -> None:
    row = {"video": "clip0.mp4", "audio": "voice.mkv", "output": "o.mp4", "tau": 0.5, "seed": 3}
    (folder / "jobs.jsonl").write_text(json.dumps(row) + "\n\n")
    (job,) = read_manifest(folder / "jobs.jsonl")
    assert job.video == folder / "clip0.mp4" and job.output == folder / "o.mp4"
    assert job.options == SyncOptions(tau=0.5, seed=3)


def test_boxes_lie_beside_the_manifest_as_all_paths_do(folder: Path) -> None:
    row = {"video": "clip0.mp4", "audio": "voice.mkv", "output": "o.mp4", "region": "boxes.json"}
    (folder / "jobs.jsonl").write_text(json.dumps(row))
    assert read_manifest(folder / "jobs.jsonl")[0].options.region == str(folder / "boxes.json")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no job"),
        ("video,audio,output\n", "holds no job"),
        ("video,audio,output\nclip0.mp4,voice.mkv\n", "line 2: expected 3 fields"),
        ("video,audio,output\nclip0.mp4,voice.mkv,\n", "line 2: output missing"),
        ("video,audio,output\nnone.mp4,voice.mkv,o.mp4\n", "line 2: there is no file"),
        ("video,audio,output\nclip0.mp4,voice.mkv,o.gif\n", "line 2: expected an output file"),
        ("video,audio,output,step\nclip0.mp4,voice.mkv,o.mp4,1\n", "no field 'step'"),
        ("video,audio,output,steps\nclip0.mp4,voice.mkv,o.mp4,x\n", "steps must be a number"),
        ("video,audio,output,steps\nclip0.mp4,voice.mkv,o.mp4,0\n", "line 2: steps must lie"),
        ("video,audio,output,lossless\nclip0.mp4,voice.mkv,o.mp4,x\n", "true or false"),
        ("video,audio,output\n" + 2 * "clip0.mp4,voice.mkv,o.mp4\n", "that of line 2"),
    ],
)
def test_a_wrong_manifest_is_refused_by_line_and_field(folder: Path, text: str, words: str) -> None:
    (folder / "jobs.csv").write_text(text)
    with pytest.raises(UserError, match=words):
        read_manifest(folder / "jobs.csv")


@pytest.mark.parametrize(("text", "words"), [("{", "line 1 is not JSON"), ("[1]", "an object")])
def test_wrong_json_lines_are_refused_by_line(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "jobs.jsonl").write_text(text)
    with pytest.raises(UserError, match=words):
        read_manifest(tmp_path / "jobs.jsonl")


def test_a_missing_manifest_is_code_2(tmp_path: Path, capsys) -> None:
    assert main(["batch", str(tmp_path / "none.csv")]) == 2
    assert "cannot be read" in capsys.readouterr().err
