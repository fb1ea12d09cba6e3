import os
import subprocess
import sys
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
from omnisync_core.training.batch import TrainOptions
from omnisync_core.training.pairs import pack_flow, save_shard
from omnisync_core.training.recipe import read_recipe, recipe_names, run_recipe

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


def _pairs(pairs: Path, width: int) -> None:
    """Rendered pairs of noise, 24 pixels wide, and their voices."""
    rng = np.random.default_rng(0)
    pairs.mkdir(parents=True)
    pictures = rng.integers(0, 255, (2, 3, 4, 24, 24, 3)).astype(np.uint8)
    save_shard(
        pairs / "rendered_001",
        {
            "source": pictures[0],
            "target": pictures[1],
            "mouth": np.full((3, 4, 2), 12.0),
            "flow": pack_flow(rng.normal(size=(12, 24, 24, 2))).reshape(3, 4, 12, 12, 2),
            "start": np.zeros(3),
            "voice": np.array(["a", "b", "a"]),
        },
    )
    tokens = {name: rng.normal(size=(2, 30, width)).astype(np.float16) for name in "ab"}
    np.savez(pairs / "tokens_tts_001.npz", **tokens)


def _pictures(pairs: Path) -> None:
    """Two pictures without a sound, as `omnisync prepare` packs them for crops of 24 pixels."""
    crops = np.random.default_rng(0).integers(0, 255, (2, 1, 30, 30, 3)).astype(np.uint8)
    landmarks = np.random.default_rng(1).uniform(8, 22, (2, 1, 96, 2)).astype(np.float32)
    arrays = {"names": np.array(["a", "b"]), "crops": crops, "landmarks": landmarks}
    pairs.mkdir(parents=True)
    save_shard(pairs / "real_faces_unheard1_000", arrays)


@pytest.fixture
def folder(tmp_path: Path, tiny: ModelConfig, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with recipe.toml, pairs of noise and a voice, all of the tiny size."""
    for name in PRESETS:
        monkeypatch.setitem(PRESETS, name, replace(tiny, crop=24))
    _pairs(tmp_path / "pairs", tiny.audio_width)
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


@pytest.mark.parametrize("name", ["seed", "paper"])
def test_every_stage_of_the_large_recipes_runs(folder: Path, name: str) -> None:
    data, recipe = folder / "data", read_recipe(name)
    for one in ("lrs2", "voxceleb2", "generated"):
        _pairs(data / one, PRESETS["mini"].audio_width)
    _pictures(data / "celebahq")
    if name == "paper":
        data = data / "lrs2"
    stages = {
        label: replace(options, steps=2, batch=2, frames=min(options.frames, 2))
        for label, options in recipe.stages.items()
    }
    weights = run_recipe(
        replace(recipe, stages=stages),
        data,
        folder / "voice.safetensors",
        folder / "run",
        embedder="locator",
    )
    assert weights == folder / f"run/{len(stages)}_{list(stages)[-1]}/model.safetensors"
    assert load_model(weights).config.crop == 24


def test_the_seed_recipe_has_the_steps_of_the_specification() -> None:
    stages = read_recipe("seed").stages.values()
    assert [stage.steps for stage in stages] == [500_000, 800_000, 500_000, 200_000]
    assert [stage.frames for stage in stages] == [1, 16, 1, 16]


def test_an_identity_loss_without_an_embedder_is_refused_before_anything_runs(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "recipe.toml").write_text(RECIPE + "identity = 0.1\n")
    assert _train(folder) == 2
    assert "--embedder" in capsys.readouterr().err
    assert not (folder / "run").exists()


def test_a_stage_draws_from_the_folders_that_it_names(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "recipe.toml").write_text(RECIPE.replace("real_share = 0", 'data = ["none"]'))
    assert _train(folder) == 2
    assert "omnisync prepare" in capsys.readouterr().err
    (folder / "pairs").rename(folder / "none")
    (folder / "pairs").mkdir()
    (folder / "none").rename(folder / "pairs/none")
    (folder / "recipe.toml").write_text(RECIPE.split('[[stage]]\nname = "clips"')[0])
    text = (folder / "recipe.toml").read_text().replace("real_share = 0", 'data = ["none"]')
    (folder / "recipe.toml").write_text(text.replace("steps = 50", "steps = 1"))
    assert _train(folder) == 0


def test_windows_longer_than_the_rendered_clips_are_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "recipe.toml").write_text(RECIPE.replace("frames = 2", "frames = 5"))
    assert _train(folder) == 2
    assert "rendered clips have 4" in capsys.readouterr().err
    assert not (folder / "run").exists()


def test_data_for_another_preset_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(PRESETS, "mini", replace(PRESETS["mini"], crop=32))
    assert _train(folder) == 2
    assert "crops of 32 pixels" in capsys.readouterr().err


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
        ('model = "mini"\n[[stage]]\nprecision = "int8"', "'fp32' or 'bf16' or 'auto'"),
        ('model = "mini"\n[[stage]]\ndata = "lrs2"', "must be a list of folder names"),
        ('model = "mini"\n[[stage]]\nname = "a/b"', "names are words"),
        ('model = "mini"\n[[stage]]\nname = "a"\n[[stage]]\nname = "a"', "each used once"),
    ],
)
def test_a_wrong_recipe_is_refused_by_name(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(UserError, match=words):
        read_recipe(tmp_path / "r.toml")


def test_a_recipe_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"one of paper, seed, small"):
        read_recipe(tmp_path / "none.toml")


def test_two_processes_go_from_stage_to_stage(folder: Path, tiny: ModelConfig) -> None:
    script = folder / "go.py"
    script.write_text(
        "import sys\n"
        "from omnisync_core.cli import main\n"
        "from omnisync_core.config import PRESETS, ModelConfig\n"
        f"PRESETS['mini'] = ModelConfig(**{replace(tiny, crop=24).to_dict()!r})\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", str(script), "train", str(folder / "recipe.toml")]
    command += ["--data", str(folder / "pairs"), "--voice", str(folder / "voice.safetensors")]
    command += ["-o", str(folder / "run")]
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root}
    subprocess.run(command, check=True, env=environment, timeout=300)
    assert (folder / "run/2_clips/model.safetensors").exists()
