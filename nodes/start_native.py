"""OmniSync Native Start: a source video's LATENT + SIGMAS -> where a native sampler begins."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..omnisync_core.errors import UserError
from . import host, native, widgets


class NativeStart:
    TITLE = "OmniSync Native Start"
    CATEGORY = widgets.CATEGORY
    DESCRIPTION = (
        "Starts any native sampler from the source video instead of from nothing: the schedule "
        "begins at tau, and the noise moves with the picture. For flow-matching models (Wan, LTX, "
        "HuMo) and for others (SVD) alike."
    )
    FUNCTION = "start"
    RETURN_TYPES = ("LATENT", "SIGMAS", "NOISE")
    RETURN_NAMES = ("latent", "sigmas", "noise")
    OUTPUT_TOOLTIPS = (
        "The source's latent, for latent_image of Sampler Custom Advanced.",
        "The schedule from tau down, for sigmas.",
        "The noise, for noise: it follows the images, or is plain without them.",
    )
    EXPERIMENTAL = True
    SEARCH_ALIASES = ("flow init", "video to video", "truncated sigmas", "warped noise")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "model": ("MODEL", {"tooltip": "The model that will sample: it knows its noise."}),
                "latent": ("LATENT", {"tooltip": "The source video, from VAE Encode."}),
                "sigmas": (
                    "SIGMAS",
                    {"tooltip": "A whole schedule, for example from Basic Scheduler."},
                ),
                "tau": widgets.tau(),
                "seed": widgets.seed(),
            },
            "optional": {
                "images": widgets.images_socket(
                    "The source's frames: noise moves along their optical flow."
                ),
                "mask": (
                    "MASK",
                    {
                        "tooltip": "Where the noise is fresh, white on the mouth: from OmniSync "
                        "Mouth Mask."
                    },
                ),
            },
        }

    @widgets.names_itself
    def start(
        self,
        model: Any,
        latent: Any,
        sigmas: Any,
        tau: float,
        seed: int,
        *,
        images: Any = None,
        mask: Any = None,
    ) -> tuple:
        if not hasattr(model, "get_model_object"):
            raise UserError(f"model: expected a MODEL, got {type(model).__name__}.")
        if not isinstance(sigmas, Tensor) or sigmas.ndim != 1 or len(sigmas) < 2:
            raise UserError(
                "sigmas: expected a schedule of one step or more, got "
                f"{tuple(sigmas.shape) if isinstance(sigmas, Tensor) else type(sigmas).__name__}; "
                "connect Basic Scheduler."
            )
        if not isinstance(latent, dict) or "samples" not in latent:
            raise UserError(f"latent: expected a LATENT, got {type(latent).__name__}.")
        shape = native.picture_shape(latent["samples"])
        if len(shape) not in (4, 5):
            raise UserError(f"latent: expected a video's LATENT, got one of shape {shape}.")
        if images is not None:
            host.check_images(images)
        if mask is not None:
            mask = host.check_mask(mask)
        level = native.noise_level(model.get_model_object("model_sampling"), tau)
        noise = native.WarpedNoise(seed, images, mask)
        return (latent, native.cut_sigmas(sigmas, level), noise)
