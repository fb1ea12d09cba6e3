"""OmniSync Model Loader: a name -> OMNISYNC_MODEL."""

from __future__ import annotations

from typing import Any

from . import host, sockets, widgets


class ModelLoader:
    TITLE = "OmniSync Model Loader"
    CATEGORY = widgets.CATEGORY
    DESCRIPTION = (
        "Loads an OmniSync model: the small one that comes with the pack, or a file from "
        "models/omnisync. ComfyUI moves it to the GPU and back as it needs the memory."
    )
    FUNCTION = "load"
    RETURN_TYPES = (sockets.MODEL,)
    RETURN_NAMES = ("model",)
    OUTPUT_TOOLTIPS = ("The model, for the other OmniSync nodes.",)
    SEARCH_ALIASES = ("lip sync model", "load lip sync")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "model": (
                    host.model_names(),
                    {
                        "default": host.EMBEDDED,
                        "tooltip": "The embedded model needs no file. Others are .safetensors "
                        "files in models/omnisync.",
                    },
                ),
            },
            "optional": {
                "device": (
                    [host.AUTO, "cpu"],
                    {
                        "default": host.AUTO,
                        "tooltip": "auto runs where ComfyUI runs its models.",
                        "advanced": True,
                    },
                ),
                "dtype": (
                    [host.AUTO, *host.DTYPES],
                    {
                        "default": host.AUTO,
                        "tooltip": "Number format of the weights; auto is ComfyUI's own choice "
                        "for the device: float32 on a CPU, half precision on most GPUs.",
                        "advanced": True,
                    },
                ),
            },
        }

    @classmethod
    def IS_CHANGED(cls, model: str, **_: Any) -> float:
        path = host.model_path(model)
        return 0.0 if isinstance(path, str) else path.stat().st_mtime

    @widgets.names_itself
    def load(self, model: str, *, device: str = host.AUTO, dtype: str = host.AUTO) -> tuple:
        return (host.load(model, device=device, dtype=dtype),)
