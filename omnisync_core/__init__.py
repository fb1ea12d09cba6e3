"""OmniSync: video + voice in, the same video with matching lips out.

    from omnisync_core import SyncOptions, load_model, sync_video

    model = load_model("mini")
    summary = sync_video(model, "talk.mp4", "voice.wav", "out.mp4", options=SyncOptions(seed=1))

The names below are loaded on first use, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .checkpoint import load_model as load_model
    from .config import SyncOptions as SyncOptions
    from .errors import UserError as UserError
    from .pipeline import sync_frames as sync_frames
    from .pipeline import sync_video as sync_video

__version__ = "0.1.0"
_HOMES = {
    "SyncOptions": "config",
    "UserError": "errors",
    "load_model": "checkpoint",
    "sync_frames": "pipeline",
    "sync_video": "pipeline",
}
__all__ = ["SyncOptions", "UserError", "__version__", "load_model", "sync_frames", "sync_video"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
