"""A recipe: the stages of a training run, one after the other, each from the weights before it.

A TOML file, or the name of one that ships (`small` is what the embedded model comes from):

    model = "mini"

    [[stage]]
    name = "frames"       # its folder in the run
    steps = 6000          # and any other field of TrainOptions
    view = 64
    data = ["lrs2"]       # folders inside the data folder; without it, the data folder itself
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import torch

from ..checkpoint import load_model
from ..config import preset
from ..errors import UserError
from .batch import TrainOptions
from .embedder import load_embedder
from .prepare import load_encoder, load_pools
from .train import Trainer

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports]  # only on 3.10

_SHIPPED = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class Recipe:
    """Which preset is trained, and its stages by name, in order."""

    model: str
    stages: dict[str, TrainOptions]
    data: dict[str, tuple[str, ...]]
    """Folders inside the data folder that a stage draws from; none is the data folder itself."""


def recipe_names() -> list[str]:
    """The recipes that ship."""
    return sorted(path.stem for path in _SHIPPED.glob("*.toml"))


def read_recipe(name: str | Path) -> Recipe:
    """A recipe by its name or from a TOML file; UserError, naming the key, where it is wrong."""
    path = _SHIPPED / f"{name}.toml" if str(name) in recipe_names() else Path(name)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"The recipe {name} cannot be read ({error.strerror}); give a TOML file or one of "
            f"{', '.join(recipe_names())}."
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"The recipe {path} is not TOML: {error}.") from None
    stages = content.get("stage")
    if set(content) != {"model", "stage"} or not isinstance(stages, list) or not stages:
        raise UserError(
            f"The recipe {path} must hold `model` and at least one [[stage]]; got "
            f"{', '.join(sorted(content)) or 'nothing'}."
        )
    preset(content["model"])
    found: dict[str, TrainOptions] = {}
    data: dict[str, tuple[str, ...]] = {}
    for number, stage in enumerate(stages, 1):
        label = str(stage.pop("name", f"stage{number}"))
        if label in found or not label.isidentifier():
            raise UserError(
                f"Stage {number} of {path} is named {label!r}; names are words, each used once."
            )
        folders = stage.pop("data", [])
        if not isinstance(folders, list) or not all(isinstance(one, str) for one in folders):
            raise UserError(
                f"data of stage {label} of {path} must be a list of folder names; got {folders!r}."
            )
        data[label] = tuple(folders)
        found[label] = _options(stage, where=f"stage {label} of {path}")
    return Recipe(content["model"], found, data)


def _options(values: dict[str, Any], *, where: str) -> TrainOptions:
    """TrainOptions of a TOML table, its names and types checked."""
    hints = get_type_hints(TrainOptions)
    for name, value in values.items():
        if name not in hints:
            raise UserError(f"{where} has no setting {name!r}; there are {', '.join(hints)}.")
        choices = get_args(hints[name])
        wanted = (int, float) if hints[name] is float else hints[name]
        fits = value in choices if choices else isinstance(value, wanted)
        if not fits or (isinstance(value, bool) and hints[name] is not bool):
            kind = " or ".join(map(repr, choices)) if choices else hints[name].__name__
            raise UserError(f"{name} in {where} must be {kind}; got {value!r}.")
    return TrainOptions(**values)


def run_recipe(
    recipe: Recipe,
    data: Path,
    voice: Path,
    run: Path,
    *,
    weights: Path | None = None,
    embedder: str | None = None,
) -> Path:
    """Run every stage, or what is left of it; returns the last one's model.safetensors.

    data: a folder that prepare.py filled; voice: voice.safetensors of the voice trainer; weights: a
    checkpoint to begin with; embedder: for stages with an identity loss (embedder.py). Stage
    folders are numbered: RUN/1_frames, RUN/2_clips ... What a later stage lacks is said before the
    first one starts.
    """
    asking = [name for name, options in recipe.stages.items() if options.identity]
    if asking and embedder is None:
        raise UserError(
            f"Stage {asking[0]} has an identity loss, which needs a face embedder: give "
            "--embedder FILE.pt (TorchScript), --embedder locator for the likeness that ships, or "
            "a recipe without `identity`."
        )
    judge = load_embedder(embedder) if asking and embedder else None
    pools = {
        folders: load_pools(*(data / one for one in folders or ("",)), model=recipe.model)
        for folders in recipe.data.values()
    }
    for name, options in recipe.stages.items():
        rendered = pools[recipe.data[name]].rendered
        shortest = min((len(clip.source) for clip in rendered), default=options.frames)
        if options.frames > shortest:
            raise UserError(
                f"Stage {name} wants windows of {options.frames} frames, but its rendered clips "
                f"have {shortest}: choose fewer `frames`, or `data` without rendered clips."
            )
    for number, (name, options) in enumerate(recipe.stages.items(), 1):
        folder = run / f"{number}_{name}"
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(options.seed)
        model = load_encoder(voice, recipe.model)
        if weights is not None:
            model.load_state_dict(load_model(weights).state_dict())
        drawn = replace(pools[recipe.data[name]], real_share=options.real_share)
        Trainer(drawn, model, folder, options, judge).train()
        weights = folder / "model.safetensors"
    assert weights is not None  # a recipe has stages
    return weights
