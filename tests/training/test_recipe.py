from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from omnisync_core.checkpoint import load_model
from omnisync_core.cli import main
from omnisync_core.config import PRESETS, ModelConfig
from omnisync_core.errors import UserError
from omnisync_core.model import OmniSync
from omnisync_core.training.recipe import read_recipe, recipe_names
from omnisync_core.training.train import TrainOptions

RECIPE = """
model = "mini"
[[stage]]
name = "frames"
steps = 50
batch = 2
view = 16
real_share = 0
[[stage]]
name = "clips"
steps = 2
batch = 2
frames = 2
"""


@pytest.fixture
def folder(tmp_path: Path, tiny: ModelConfig, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with recipe.toml, pairs of noise and a voice, all of the tiny size."""
    monkeypatch.setitem(PRESETS, "mini", replace(tiny, crop=24))
    rng, pairs = np.random.default_rng(0), tmp_path / "pairs"
    pairs.mkdir()
    pictures = rng.integers(0, 255, (2, 3, 4, 24, 24, 3)).astype(np.uint8)
    np.savez(
        pairs / "rendered_001.npz",
        source=pictures[0],
        target=pictures[1],
        mouth=np.full((3, 4, 2), 12.0),
        start=np.zeros(3),
        voice=np.array(["a", "b", "a"]),
    )
    tokens = {name: rng.normal(size=(2, 30, tiny.audio_width)).astype(np.float16) for name in "ab"}
    np.savez(pairs / "tokens_tts_001.npz", **tokens)
    encoder = OmniSync(tiny).encoder.state_dict()
    save_file({f"encoder.{k}": v for k, v in encoder.items()}, tmp_path / "voice.safetensors")
    (tmp_path / "recipe.toml").write_text(RECIPE)
    return tmp_path


def _train(folder: Path, *more: str) -> int:
    command = ["train", str(folder / "recipe.toml"), "--data", str(folder / "pairs")]
    command += ["--voice", str(folder / "voice.safetensors"), "-o", str(folder / "run"), *more]
    return main(command)


def test_a_recipe_runs_from_the_command_line_and_its_curves_are_drawn(folder: Path) -> None:
    assert _train(folder) == 0
    assert {p.name for p in (folder / "run").iterdir()} == {"1_frames", "2_clips"}
    assert list((folder / "run/1_frames").glob("**/events.*"))  # TensorBoard's
    assert main(["train", "-o", str(folder / "run"), "--plot"]) == 0
    assert (folder / "run/curves.png").stat().st_size > 5000


def test_a_finished_recipe_is_not_run_again_and_stages_build_on_each_other(folder: Path) -> None:
    assert _train(folder) == 0
    weights = [folder / f"run/{name}/model.safetensors" for name in ("1_frames", "2_clips")]
    written = [path.stat().st_mtime_ns for path in weights]
    assert _train(folder) == 0
    assert [path.stat().st_mtime_ns for path in weights] == written
    first, second = (load_model(path).transformer.embed.weight for path in weights)
    fresh = OmniSync(PRESETS["mini"]).transformer.embed.weight
    assert (second - first).abs().max() < 0.1 * (first - fresh).abs().max()


def test_an_empty_run_has_no_curves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "-o", str(tmp_path), "--plot"]) == 2
    assert "no logged steps" in capsys.readouterr().err


def test_training_without_data_says_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "small", "-o", str(tmp_path)]) == 2
    assert "data and voice" in capsys.readouterr().err


def test_a_voice_of_another_size_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_file({"encoder.norm.weight": torch.ones(7)}, folder / "voice.safetensors")
    assert _train(folder) == 2
    assert "no voice encoder of the size" in capsys.readouterr().err


@pytest.mark.parametrize("name", recipe_names())
def test_the_recipes_that_ship_can_be_read(name: str) -> None:
    recipe = read_recipe(name)
    assert recipe.model in PRESETS and recipe.stages


def test_what_a_stage_leaves_out_has_its_default(folder: Path) -> None:
    stages = read_recipe(folder / "recipe.toml").stages
    assert stages["clips"] == TrainOptions(steps=2, batch=2, frames=2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model = ", "is not TOML"),
        ('model = "mini"', "at least one"),
        ('model = "huge"\n[[stage]]\nsteps = 1', "huge"),
        ('model = "mini"\n[[stage]]\nstep = 1', "no setting 'step'"),
        ('model = "mini"\n[[stage]]\nsteps = "many"', "must be int"),
        ('model = "mini"\n[[stage]]\nsteps = true', "must be int"),
        ('model = "mini"\n[[stage]]\nprecision = "int8"', "'fp32' or 'bf16'"),
        ('model = "mini"\n[[stage]]\nname = "a/b"', "names are words"),
        ('model = "mini"\n[[stage]]\nname = "a"\n[[stage]]\nname = "a"', "each used once"),
    ],
)
def test_a_wrong_recipe_is_refused_by_name(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(UserError, match=words):
        read_recipe(tmp_path / "r.toml")


def test_a_recipe_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="one of small"):
        read_recipe(tmp_path / "none.toml")
