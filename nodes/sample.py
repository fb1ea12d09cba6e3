"""OmniSync Sampler: IMAGE + encoded voice + start point -> IMAGE with new lips."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..omnisync_core.config import SyncOptions
from ..omnisync_core.errors import UserError
from . import host, sockets, strip, widgets


class Sampler:
    TITLE = "OmniSync Sampler"
    CATEGORY = widgets.CATEGORY
    DESCRIPTION = (
        "Moves the lips: guided sampling (ST-CFG) from the start point down to clean frames, "
        "window by window, put back into the picture. Outside the mouth's crop nothing changes."
    )
    FUNCTION = "sample"
    RETURN_TYPES = ("IMAGE", "STRING")
    RETURN_NAMES = ("images", "report")
    OUTPUT_TOOLTIPS = (
        "As many frames as came in, with the new lips.",
        "How many frames were edited, and how many passed through unchanged.",
    )
    SEARCH_ALIASES = ("ST-CFG", "lip sync sampler")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "model": widgets.model_socket(),
                "images": widgets.images_socket("The frames to edit, the same as for Flow Init."),
                "encoded_audio": (
                    sockets.AUDIO,
                    {"tooltip": "The voice, from OmniSync Audio Encode."},
                ),
                "start": (sockets.START, {"tooltip": "The start point, from OmniSync Flow Init."}),
                "steps": widgets.steps(),
                "spatial_scale": widgets.scale(
                    default=SyncOptions().spatial_scale,
                    maximum=20.0,
                    tooltip="How strongly guidance edits the place of the mouth. 1 is the plain "
                    "network; 0 is without.",
                ),
                "temporal_scale": widgets.scale(
                    default=SyncOptions().temporal_scale,
                    maximum=20.0,
                    tooltip="How strongly guidance follows the timing of the voice. 1 is the plain "
                    "network; 0 ignores the voice's timing.",
                ),
                **widgets.sampling(),
            },
            "optional": {
                "windows": widgets.windows_socket(),
                **widgets.windows(advanced=True),
                "texture": widgets.texture(advanced=True),
            },
            "hidden": widgets.SAVED,
        }

    @widgets.names_itself
    def sample(
        self,
        model: Any,
        images: Any,
        encoded_audio: Any,
        start: Any,
        *,
        windows: Any = None,
        extra_pnginfo: Any = None,
        **chosen: Any,
    ) -> tuple:
        from ..omnisync_core.editing import edit_frames
        from ..omnisync_core.progress import Summary

        widgets.expect(model, sockets.LoadedModel, "model", source="OmniSync Model Loader")
        frames = host.images_to_core(images)
        heard = _heard(encoded_audio, frames=len(frames), model=model)
        _check_start(start, frames=len(frames), model=model)
        options = SyncOptions(tau=start.tau, seed=start.seed, **chosen)
        if windows is not None:
            widgets.expect(
                windows, sockets.WindowPlan, "windows", source="OmniSync Long Video Chunker"
            )
            options = replace(options, window=windows.window, overlap=windows.overlap)
        summary, seen = Summary(), strip.Strip(host.progress(stages=("edit",)))
        edited = edit_frames(
            host.ready(model),
            frames,
            start.tracking,
            heard,
            options=options,
            noise=lambda i, _: start.noise[i],
            callback=seen,
            summary=summary,
            again=frames,
        )
        widgets.mark(extra_pnginfo, model)
        result = (host.images_from_core(edited, frames, images), widgets.report(summary))
        return host.shown(result, omnisync_strip=seen.told(encoded_audio.loud))


def _heard(encoded: Any, *, frames: int, model: sockets.LoadedModel) -> Any:
    """The voice for just these frames."""
    widgets.expect(encoded, sockets.EncodedAudio, "encoded_audio", source="OmniSync Audio Encode")
    heard, width = encoded.heard, model.network.config.audio_width
    if heard.tokens.shape[-1] != width:
        raise UserError(
            f"encoded_audio: expected a voice encoded with the model {model.name!r} ({width} "
            f"channels), got {heard.tokens.shape[-1]} channels; connect the same model to "
            "OmniSync Audio Encode and to this node."
        )
    if len(heard.times) < frames:
        raise UserError(
            f"encoded_audio: expected a voice encoded for {frames} frames, got "
            f"{len(heard.times)}; connect the images to OmniSync Audio Encode."
        )
    return heard.span(0, frames)


def _check_start(start: Any, *, frames: int, model: sockets.LoadedModel) -> None:
    widgets.expect(start, sockets.StartPoint, "start", source="OmniSync Flow Init")
    if len(start.tracking.track) != frames:
        raise UserError(
            f"start: expected a start point for {frames} frames, got one for "
            f"{len(start.tracking.track)}; connect the same images to OmniSync Flow Init and to "
            "this node."
        )
    size = model.network.config.crop
    if start.size not in (None, size):
        raise UserError(
            f"start: expected noise of {size} pixels for the model {model.name!r}, got "
            f"{start.size}; connect the same model to OmniSync Flow Init and to this node."
        )
