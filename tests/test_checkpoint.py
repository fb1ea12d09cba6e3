import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from omnisync_core.checkpoint import FORMAT, load_model, save_model
from omnisync_core.config import PRESETS
from omnisync_core.errors import UserError
from omnisync_core.model import OmniSync


@pytest.fixture
def saved(tiny_model: OmniSync, tmp_path: Path) -> Path:
    save_model(tiny_model, tmp_path / "tiny.safetensors", notes={"steps": "12"})
    return tmp_path / "tiny.safetensors"


def _rewrite(path: Path, *, config: object | None = None, format: str | None = FORMAT) -> None:
    """The same tensors under another header."""
    with safe_open(path, framework="pt") as file:
        header = file.metadata()
    if config is not None:
        header["config"] = json.dumps(config)
    if format is None:
        header.pop("format")
    else:
        header["format"] = format
    save_file(load_file(path), path, metadata=header)


def test_a_model_comes_back_to_the_bit(tiny_model: OmniSync, saved: Path) -> None:
    loaded = load_model(saved)
    assert loaded.config == tiny_model.config
    for name, value in tiny_model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def test_a_loaded_model_is_ready_to_run(saved: Path) -> None:
    loaded = load_model(str(saved), dtype=torch.bfloat16)
    assert not loaded.training
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.bfloat16}
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_loading_draws_no_random_numbers(saved: Path) -> None:
    before = torch.get_rng_state()
    load_model(saved)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_header_holds_format_config_and_notes(tiny_model: OmniSync, saved: Path) -> None:
    with safe_open(saved, framework="pt") as file:
        header = file.metadata()
    assert header["format"] == "omnisync-1" and header["steps"] == "12"
    assert json.loads(header["config"]) == tiny_model.config.to_dict()


def test_the_embedded_model_is_the_mini_preset() -> None:
    assert load_model("mini").config == PRESETS["mini"]


def test_a_missing_file_names_the_embedded_models(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"one of mini; there is no file .*nowhere\.safetensors"):
        load_model(tmp_path / "nowhere.safetensors")


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no file"):
        load_model(tmp_path)


def test_a_pickle_is_refused_and_not_opened(tmp_path: Path) -> None:
    torch.save({"weights": torch.zeros(3)}, tmp_path / "model.ckpt")
    with pytest.raises(UserError, match="refused because loading one runs code"):
        load_model(tmp_path / "model.ckpt")


@pytest.mark.parametrize("kept", [0, 5, 200, 20_000])
def test_a_truncated_file_is_called_damaged(saved: Path, kept: int) -> None:
    saved.write_bytes(saved.read_bytes()[:kept])
    with pytest.raises(UserError, match="damaged: copy it again"):
        load_model(saved)


@pytest.mark.parametrize("format", [None, "omnisync-99"])
def test_another_kind_of_checkpoint_is_named(saved: Path, format: str | None) -> None:
    _rewrite(saved, format=format)
    with pytest.raises(UserError, match=r"another kind .*expected an OmniSync checkpoint"):
        load_model(saved)


def test_unknown_config_keys_are_refused(tiny_model: OmniSync, saved: Path) -> None:
    _rewrite(saved, config={**tiny_model.config.to_dict(), "wings": 2})
    with pytest.raises(UserError, match=r"wings.*written by another version"):
        load_model(saved)


@pytest.mark.parametrize("config", [[1, 2], {"heads": 0}, {"width": "wide"}, {"depth": 1.5}])
def test_a_config_without_sense_is_refused(saved: Path, config: object) -> None:
    _rewrite(saved, config=config)
    with pytest.raises(UserError, match="cannot be used"):
        load_model(saved)


def test_a_config_that_is_no_json_is_refused(saved: Path) -> None:
    save_file(load_file(saved), saved, metadata={"format": FORMAT, "config": "{"})
    with pytest.raises(UserError, match="cannot be used"):
        load_model(saved)


def test_tensors_of_another_architecture_are_refused(tiny_model: OmniSync, saved: Path) -> None:
    _rewrite(saved, config={**tiny_model.config.to_dict(), "depth": 3})
    with pytest.raises(UserError, match=r"does not fit its own config: \d+ tensors.*blocks\.2"):
        load_model(saved)
