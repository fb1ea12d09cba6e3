"""OmniSync Lip Guidance and OmniSync Guider: ST-CFG for the host's own audio-driven models."""

from __future__ import annotations

from typing import Any

from ..omnisync_core.errors import UserError
from . import host, native, widgets

_MODELS = "Wan2.2-S2V, HuMo, InfiniteTalk, LTX audio-video"


def _guidance() -> dict[str, tuple]:
    """The fields that both nodes share."""
    return {
        "spatial_scale": widgets.scale(
            default=2.0,
            maximum=20.0,
            tooltip="How strongly the place of the mouth is driven by the voice. 1 is the plain "
            "model. LTX uses temporal_scale alone.",
        ),
        "temporal_scale": widgets.scale(
            default=2.0,
            maximum=20.0,
            tooltip="How strongly the timing of the voice is followed. 1 is the plain model.",
        ),
        "profile": widgets.sampling()["profile"],
    }


def _optional() -> dict[str, tuple]:
    return {
        "mask": (
            "MASK",
            {
                "tooltip": "Where guidance acts, white on the mouth: from OmniSync Mouth Mask, one "
                "for each frame of the clip or one for all. Without it the whole picture."
            },
        ),
        "floor": (
            "FLOAT",
            {
                "default": 0.5,
                "min": 0.0,
                "max": 1.0,
                "step": 0.01,
                "tooltip": "Share of the guidance that remains where the mask is black. With "
                "scales of 2, 0.5 leaves the plain model there and 0 leaves it without the voice.",
            },
        ),
    }


def _patched(
    model: Any,
    *,
    spatial_scale: float,
    temporal_scale: float,
    profile: Any,
    mask: Any,
    floor: float,
) -> Any:
    """A clone of the host's MODEL that is guided. Raises UserError for what is none."""
    if not hasattr(model, "set_model_sampler_pre_cfg_function"):
        raise UserError(
            f"model: expected a MODEL ({_MODELS}), got {type(model).__name__}; connect a Load "
            "Diffusion Model node. OmniSync's own models are guided by OmniSync Sampler."
        )
    if mask is not None:
        mask = host.check_mask(mask)
    patched = model.clone()
    guide = native.Guide(spatial_scale, temporal_scale, profile, floor, mask)
    patched.set_model_sampler_pre_cfg_function(guide)
    return patched


class LipGuidance:
    TITLE = "OmniSync Lip Guidance (ST-CFG)"
    CATEGORY = widgets.CATEGORY
    DESCRIPTION = (
        "Makes an audio-driven model follow the voice more strongly, in the mouth and in time: "
        f"ST-CFG for {_MODELS}. One or two more passes per step. Not to be confused with LTX's STG."
    )
    FUNCTION = "patch"
    RETURN_TYPES = ("MODEL",)
    RETURN_NAMES = ("model",)
    OUTPUT_TOOLTIPS = ("The same model, guided; for any sampler.",)
    EXPERIMENTAL = True
    SEARCH_ALIASES = ("ST-CFG", "audio guidance", "audio cfg", "lip sync guidance", "音频引导")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "model": ("MODEL", {"tooltip": f"A model that hears a voice: {_MODELS}."}),
                **_guidance(),
            },
            "optional": _optional(),
        }

    @widgets.names_itself
    def patch(self, model: Any, *, mask: Any = None, floor: float = 0.5, **chosen: Any) -> tuple:
        return (_patched(model, mask=mask, floor=floor, **chosen),)


class Guider:
    TITLE = "OmniSync Guider (ST-CFG)"
    CATEGORY = widgets.CATEGORY
    DESCRIPTION = (
        "A guider for Sampler Custom Advanced: the host's classifier-free guidance and ST-CFG in "
        f"one, for {_MODELS}."
    )
    FUNCTION = "guider"
    RETURN_TYPES = ("GUIDER",)
    RETURN_NAMES = ("guider",)
    OUTPUT_TOOLTIPS = ("For Sampler Custom Advanced.",)
    EXPERIMENTAL = True
    SEARCH_ALIASES = ("ST-CFG guider", "audio guidance", "lip sync guider")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "model": ("MODEL", {"tooltip": f"A model that hears a voice: {_MODELS}."}),
                "positive": (
                    "CONDITIONING",
                    {"tooltip": "The prompt with the voice, from the model's own sound node."},
                ),
                "cfg": widgets.scale(
                    default=1.0,
                    maximum=100.0,
                    tooltip="The host's guidance towards the prompt. 1 runs without a negative.",
                ),
                **_guidance(),
            },
            "optional": {
                "negative": ("CONDITIONING", {"tooltip": "The negative prompt, for cfg above 1."}),
                **_optional(),
            },
        }

    @widgets.names_itself
    def guider(
        self,
        model: Any,
        positive: Any,
        cfg: float,
        *,
        negative: Any = None,
        mask: Any = None,
        floor: float = 0.5,
        **chosen: Any,
    ) -> tuple:
        if negative is None and cfg != 1:
            raise UserError(
                f"negative: expected a CONDITIONING for a cfg of {cfg}, got nothing; connect one "
                "or set cfg to 1."
            )
        patched = _patched(model, mask=mask, floor=floor, **chosen)
        for name, cond in (("positive", positive), ("negative", negative)):
            if not (isinstance(cond, list) and cond) and not (name == "negative" and cond is None):
                raise UserError(
                    f"{name}: expected a CONDITIONING, got "
                    f"{'an empty one' if cond == [] else type(cond).__name__}; connect the prompt "
                    "with the voice, from the model's own sound node."
                )
        return (host.guider(patched, positive, negative, cfg),)
