"""Weights in and out: safetensors files that carry their model's config; pickles are refused.

With media.py the only file opener of the core.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from .config import ModelConfig
from .errors import UserError
from .model import OmniSync

FORMAT = "omnisync-1"
EMBEDDED = ("mini",)
"""Models that ship inside the package."""


def weights_path(name: str) -> Path:
    """Where an embedded weights file lies (packages are installed unpacked)."""
    return Path(__file__).parent / "weights" / f"{name}.safetensors"


def save_model(model: OmniSync, path: Path, *, notes: dict[str, str] | None = None) -> None:
    """Write weights, config and notes (what it was trained on) into one file."""
    header = {"format": FORMAT, "config": json.dumps(model.config.to_dict()), **(notes or {})}
    tensors = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(tensors, path, metadata=header)


def notes_of(path: Path) -> dict[str, str]:
    """The notes that `save_model` wrote into a file."""
    with safe_open(str(path), framework="pt") as file:
        header = file.metadata() or {}
    return {name: text for name, text in header.items() if name not in ("format", "config")}


def load_model(
    model: str | Path = "mini",
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> OmniSync:
    """Load an embedded model by name or a checkpoint by path, ready to run.

    Raises UserError for a missing or truncated file, a pickle, another kind of checkpoint, and
    tensors that do not fit the config.
    """
    path = weights_path(str(model)) if str(model) in EMBEDDED else Path(model)
    config, tensors = _read(path)
    with torch.device("meta"):  # the file's own tensors become the parameters: no second copy
        loaded = OmniSync(config)
    expected = {name: tuple(value.shape) for name, value in loaded.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    if expected != found:
        odd = sorted({name for name, _ in expected.items() ^ found.items()})
        raise UserError(
            f"{path} does not fit its own config: {len(odd)} tensors are missing, unknown or of "
            f"another shape, first {odd[0]}. Use a checkpoint that this version's training wrote."
        )
    loaded.load_state_dict(tensors, assign=True)
    return loaded.to(device=device, dtype=dtype).eval().requires_grad_(False)


def _read(path: Path) -> tuple[ModelConfig, dict[str, torch.Tensor]]:
    if not path.is_file():
        raise UserError(
            f"Expected a model file or one of {', '.join(EMBEDDED)}; there is no file {path}."
        )
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"Expected a whole safetensors file, but {path} cannot be read as one ({error}). "
            "Pickled checkpoints (.pt, .ckpt) are refused because loading one runs code; if it "
            "should be a safetensors file, it is damaged: copy it again."
        ) from None
    if header.get("format") != FORMAT:
        raise UserError(
            f"{path} is a safetensors file of another kind (format {header.get('format')!r}); "
            f"expected an OmniSync checkpoint ({FORMAT!r})."
        )
    try:
        return ModelConfig(**json.loads(header["config"])), tensors
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"The config inside {path} cannot be used ({error}); it was written by another version."
        ) from None
