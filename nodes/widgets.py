"""The forms' fields that several nodes share: one definition and one tooltip each.

Defaults and choices are those of `SyncOptions`, so that nodes, command line and Python agree.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import signature
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from ..omnisync_core import __version__
from ..omnisync_core.config import Length, Occlusion, Profile, Solver, SyncOptions, Texture
from ..omnisync_core.errors import UserError
from . import sockets

if TYPE_CHECKING:
    from ..omnisync_core.progress import Summary

CATEGORY = "OmniSync"
_DEFAULT = SyncOptions()
# Whole numbers travel through JavaScript, which keeps them exact up to here.
_LARGEST = 2**53 - 1
# Hidden input: what the host's nodes that save files write into each file of this run.
SAVED = {"extra_pnginfo": "EXTRA_PNGINFO"}


def model_socket() -> tuple:
    return (sockets.MODEL, {"tooltip": "A model from OmniSync Model Loader."})


def images_socket(tooltip: str) -> tuple:
    return ("IMAGE", {"tooltip": tooltip})


def fps(*, advanced: bool = False) -> tuple:
    return (
        "FLOAT",
        {
            "default": 25.0,
            "min": 1.0,
            "max": 240.0,
            "step": 0.001,
            "round": False,
            "tooltip": "Frames per second of the images. Connect the fps of Get Video Components "
            "for exact values such as 29.97. A VIDEO knows its own rate; then this is ignored.",
            **({"advanced": True} if advanced else {}),
        },
    )


def steps() -> tuple:
    return (
        "INT",
        {
            "default": _DEFAULT.steps,
            "min": 1,
            "max": 1000,
            "tooltip": "Sampling steps. More is slower; the embedded model was taught to need one.",
        },
    )


def seed() -> tuple:
    return (
        "INT",
        {
            "default": _DEFAULT.seed,
            "min": 0,
            "max": _LARGEST,
            # A new seed at every run would throw away the cached result of a long clip.
            "control_after_generate": False,
            "tooltip": "The same seed gives the same result; another one gives another take.",
        },
    )


def scale(*, default: float, maximum: float, tooltip: str, **more: Any) -> tuple:
    return (
        "FLOAT",
        {
            "default": default,
            "min": 0.0,
            "max": maximum,
            "step": 0.05,
            "tooltip": tooltip,
            **more,
        },
    )


def share(name: str, tooltip: str, **more: Any) -> tuple:
    """A number from 0 to 1."""
    return (
        "FLOAT",
        {
            "default": getattr(_DEFAULT, name),
            "min": 0.0,
            "max": 1.0,
            "step": 0.01,
            "tooltip": tooltip,
            **more,
        },
    )


def tau(**more: Any) -> tuple:
    return share(
        "tau",
        "Where sampling starts. 1 starts from plain noise; lower values keep more of the source's "
        "own mouth; 0 returns the source.",
        **more,
    )


def sampling(**more: Any) -> dict[str, tuple]:
    """How the sampler walks: profile, solver, churn."""
    return {
        "profile": (
            list(get_args(Profile)),
            {
                "default": _DEFAULT.profile,
                "tooltip": "How guidance changes on the way: constant, seed (two sigmoids: the "
                "place of the mouth early, the timing of the voice late) or paper (one power "
                "curve).",
                **more,
            },
        ),
        "solver": (
            list(get_args(Solver)),
            {
                "default": _DEFAULT.solver,
                "tooltip": "euler, or heun: twice the work per step, more exact.",
                **more,
            },
        ),
        "churn": share(
            "churn",
            "Noise injected again by phase; 0 is deterministic.",
            **more,
        ),
    }


def region(**more: Any) -> tuple:
    return (
        "STRING",
        {
            "default": _DEFAULT.region,
            "tooltip": "Where the mouth is: auto finds it, full takes the whole frame, x,y,w,h is "
            "a box in pixels, or the path of a JSON file with one box [x, y, w, h] or null per "
            "frame. Frames without a mouth pass through unchanged.",
            **more,
        },
    )


def file_time(region: str | None) -> float:
    """When the file that a region names was written; the host runs a node again when it changes."""
    path = Path(region or "")
    return path.stat().st_mtime if path.suffix == ".json" and path.is_file() else 0.0


def speaker(**more: Any) -> tuple:
    return (
        "STRING",
        {
            "default": _DEFAULT.speaker,
            "tooltip": "Whose mouth, when there are several: auto (the clearest), left, right, "
            "largest, or x,y in pixels: the one nearest to there.",
            **more,
        },
    )


def occlusion(**more: Any) -> tuple:
    return (
        list(get_args(Occlusion)),
        {
            "default": _DEFAULT.occlusion,
            "tooltip": "auto looks for what covers the mouth (a hand, a microphone) and keeps it "
            "in front of the edit; off does not look.",
            **more,
        },
    )


def texture(**more: Any) -> tuple:
    return (
        list(get_args(Texture)),
        {
            "default": _DEFAULT.texture,
            "tooltip": "own gives the new mouth lips and teeth of the same shot, where one looks "
            "like it; drawn shows what the network drew.",
            **more,
        },
    )


def length(**more: Any) -> tuple:
    return (
        list(get_args(Length)),
        {
            "default": _DEFAULT.length,
            "tooltip": "When voice and video differ in length: silence keeps the video's length, "
            "cut ends both at the shorter one; with a longer voice loop starts the video again, "
            "bounce plays it backwards and forwards, freeze holds its last frame.",
            **more,
        },
    )


def lossless(**more: Any) -> tuple:
    return (
        "BOOLEAN",
        {
            "default": _DEFAULT.lossless,
            "tooltip": "Keep every pixel of the VIDEO exact: a large file of the kind that few "
            "players show.",
            **more,
        },
    )


def windows(**more: Any) -> dict[str, tuple]:
    """How many frames the network sees at once."""
    return {
        "window": (
            "INT",
            {
                "default": _DEFAULT.window,
                "min": 1,
                "max": 256,
                "tooltip": "Frames that the network sees at once. Fewer need less memory.",
                **more,
            },
        ),
        "overlap": (
            "INT",
            {
                "default": _DEFAULT.overlap,
                "min": 0,
                "max": 128,
                "tooltip": "Frames that neighbouring windows share and blend; at most half of the "
                "window.",
                **more,
            },
        ),
    }


def windows_socket() -> tuple:
    return (
        sockets.WINDOWS,
        {
            "tooltip": "A plan from OmniSync Long Video Chunker; it takes the place of window and "
            "overlap below."
        },
    )


def expect(value: Any, kind: type, socket: str, *, source: str) -> None:
    """Raise UserError unless what arrived on a socket is what its type promises."""
    if not isinstance(value, kind):
        raise UserError(
            f"{socket}: expected the output of {source}, got {_describe(value)}; connect that node."
        )


def _describe(value: Any) -> str:
    return "nothing" if value is None else type(value).__name__


def names_itself(function: Callable) -> Callable:
    """For a node's method: errors that the user can mend begin with the node's name.

    What does not fit the form is refused before anything runs: the host looks only at what was
    typed, not at what comes over a link.
    """
    parameters = signature(function)

    @wraps(function)
    def run(self: Any, *args: Any, **fields: Any) -> Any:
        try:
            given = parameters.bind(self, *args, **fields).arguments
            _check_form(self, {**given, **fields})
            return function(self, *args, **fields)
        except ValueError as error:
            error.args = (f"{self.TITLE}: {error}",)
            raise

    return run


def _check_form(node: Any, fields: dict[str, Any]) -> None:
    """Raise UserError for a number out of bounds and for a word that is no choice."""
    form = node.INPUT_TYPES()
    for group in ("required", "optional"):
        for name, (kind, options) in form.get(group, {}).items():
            if name not in fields:
                continue
            value = fields[name]
            if kind in ("INT", "FLOAT"):
                numbers = Integral if kind == "INT" else Real
                low, high = options["min"], options["max"]
                if isinstance(value, numbers) and low <= value <= high:
                    continue
                expected = f"a {'whole ' * (kind == 'INT')}number from {_plain(low)} to "
                expected += _plain(high)
            # The loader's list says more than that a file is missing.
            elif isinstance(kind, list) and name != "model" and value not in kind:
                expected = "one of " + ", ".join(kind)
            elif kind == "STRING" and not isinstance(value, str):
                expected = "a text"
            elif kind == "BOOLEAN" and not isinstance(value, bool):
                expected = "true or false"
            else:
                continue
            raise UserError(f"{name}: expected {expected}, got {value!r}.")


def _plain(number: float) -> str:
    return str(int(number)) if number == int(number) else str(number)


def one_of(video: Any, images: Any) -> None:
    """Raise UserError unless just one of the two kinds of clip is connected."""
    if (video is None) == (images is None):
        came = "neither" if video is None else "both"
        raise UserError(f"video, images: expected one of the two, got {came}; connect just one.")


def mark(saved: Any, model: sockets.LoadedModel) -> None:
    """Say in every file that the host's nodes save of this run that it was edited, and by what."""
    if isinstance(saved, dict):  # None when the prompt came without the page
        name = model.network.config.name
        saved["omnisync"] = f"Edited with OmniSync {__version__}: model {name}"


def report(summary: Summary) -> str:
    """What a run did, in a sentence."""
    text = f"{summary.frames} frames, {summary.edited} edited"
    passed = summary.frames - summary.edited
    return text + (f", {passed} without a visible mouth passed through unchanged" * bool(passed))
