"""OmniSync Lip Sync: VIDEO (or IMAGE) + AUDIO -> the same, speaking the new voice."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..omnisync_core.config import SyncOptions
from . import host, measures, place, sockets, sounds, strip, widgets

if TYPE_CHECKING:
    from ..omnisync_core.config import Length
    from ..omnisync_core.media import LengthPlan

logger = logging.getLogger(__name__)


class LipSync:
    TITLE = "OmniSync Lip Sync"
    CATEGORY = widgets.CATEGORY
    DESCRIPTION = (
        "Makes a video speak a new voice. Only the lips change: length, rate, size and every pixel "
        "outside the mouth's crop stay the source's. A VIDEO streams from file to file and may be "
        "of any length; IMAGE is for short clips."
    )
    FUNCTION = "sync"
    RETURN_TYPES = ("VIDEO", "IMAGE", "STRING")
    RETURN_NAMES = ("video", "images", "report")
    OUTPUT_TOOLTIPS = (
        "The clip with the new voice and matching lips.",
        "The edited frames when IMAGE came in; nothing for a VIDEO, which is never held whole "
        "(Get Video Components makes frames of it).",
        "How many frames were edited, and how many passed through unchanged.",
    )
    SEARCH_ALIASES = ("lipsync", "dubbing", "talking head", "对口型", "口型同步", "配音")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        hidden_away = {"advanced": True}
        return {
            "required": {
                "audio": ("AUDIO", {"tooltip": "The new voice: mono or stereo, any sample rate."}),
                "steps": widgets.steps(),
                "guidance": widgets.scale(
                    maximum=5.0,
                    default=SyncOptions().temporal_scale,
                    tooltip="How strongly the lips follow the voice. 1 is the plain network, more "
                    "exaggerates, 0 ignores the voice.",
                ),
                "seed": widgets.seed(),
            },
            "optional": {
                "video": ("VIDEO", {"tooltip": "The clip to edit, of any length, size and rate."}),
                "images": widgets.images_socket("Frames to edit, instead of a VIDEO."),
                "model": (
                    sockets.MODEL,
                    {"tooltip": "From OmniSync Model Loader; without it the embedded model runs."},
                ),
                "windows": widgets.windows_socket(),
                "tau": widgets.tau(**hidden_away),
                "spatial_scale": widgets.scale(
                    maximum=4.0,
                    default=1.0,
                    tooltip="Multiplies guidance where the place of the mouth is concerned.",
                    **hidden_away,
                ),
                "temporal_scale": widgets.scale(
                    maximum=4.0,
                    default=1.0,
                    tooltip="Multiplies guidance where the timing of the voice is concerned.",
                    **hidden_away,
                ),
                **widgets.sampling(**hidden_away),
                "region": widgets.region(**hidden_away),
                "length": widgets.length(**hidden_away),
                "fps": widgets.fps(**hidden_away),
                "lossless": widgets.lossless(**hidden_away),
                **widgets.windows(**hidden_away),
                "speaker": widgets.speaker(**hidden_away),
                "occlusion": widgets.occlusion(**hidden_away),
                "mouth": place.socket(),
                "sound": (
                    "AUDIO",
                    {
                        "tooltip": "What the result plays, when it is not the voice alone: the "
                        "voice with music, or two speakers mixed. The lips follow the voice."
                    },
                ),
                "texture": widgets.texture(**hidden_away),
            },
            "hidden": widgets.SAVED,
        }

    @classmethod
    def IS_CHANGED(cls, region: str = "auto", **_: Any) -> float:
        return widgets.file_time(region)

    @widgets.names_itself
    def sync(
        self,
        audio: Any,
        guidance: float,
        *,
        video: Any = None,
        images: Any = None,
        model: Any = None,
        windows: Any = None,
        fps: float = 25.0,
        mouth: Any = None,
        sound: Any = None,
        extra_pnginfo: Any = None,
        **chosen: Any,
    ) -> tuple:
        widgets.one_of(video, images)
        options = _options(guidance, windows, chosen)
        if model is None:
            model = host.load()
        widgets.expect(model, sockets.LoadedModel, "model", source="OmniSync Model Loader")
        widgets.mark(extra_pnginfo, model)
        if video is not None:
            return _sync_video(model, video, audio, sound, mouth, options=options)
        return _sync_images(model, images, audio, sound, mouth, fps=fps, options=options)


def _options(guidance: float, windows: Any, chosen: dict[str, Any]) -> SyncOptions:
    """The form's fields as the core's options: one guidance for both of its scales."""
    scales = {
        name: guidance * chosen.pop(name, 1.0) for name in ("spatial_scale", "temporal_scale")
    }
    options = SyncOptions(**scales, **chosen)
    if windows is None:
        return options
    widgets.expect(windows, sockets.WindowPlan, "windows", source="OmniSync Long Video Chunker")
    return replace(options, window=windows.window, overlap=windows.overlap)


@contextmanager
def _placed(options: SyncOptions, mouth: Any, **clip: Any) -> Iterator[SyncOptions]:
    """The options with the region that is on the socket; as they are when nothing is."""
    with place.region_of(mouth, options.region, speaker=options.speaker, **clip) as region:
        yield replace(options, region=region)


def _sync_video(
    model: sockets.LoadedModel,
    video: Any,
    audio: Any,
    sound: Any,
    mouth: Any,
    *,
    options: SyncOptions,
) -> tuple:
    from ..omnisync_core.media import probe_video
    from ..omnisync_core.pipeline import sync_video

    output = host.temporary(".mp4")
    with ExitStack() as files:
        path = files.enter_context(host.video_file(video))
        voice = sounds.audio_to_core(audio)
        if sound is not None:
            sound = sounds.audio_to_core(sound, name="sound")
        if mouth is not None:
            info = probe_video(path)
            options = files.enter_context(
                _placed(options, mouth, times=info.times, width=info.width, height=info.height)
            )
        seen = strip.Strip(host.progress())
        summary = sync_video(
            host.ready(model),
            path,
            voice,
            output,
            options=options,
            callback=seen,
            sound=sound,
            work=host.work_folder(path),
        )
    said = widgets.report(summary)
    logger.info("%s: %s", LipSync.TITLE, said)
    none = host.blocked(
        "OmniSync Lip Sync got a VIDEO, so its result is on the video output; "
        "Get Video Components makes images of it."
    )
    loud = measures.loudness(sounds.waveform(audio), np.asarray(seen.times))
    return host.shown((host.video_from_file(output), none, said), omnisync_strip=seen.told(loud))


def _sync_images(
    model: sockets.LoadedModel,
    images: Any,
    audio: Any,
    sound: Any,
    mouth: Any,
    *,
    fps: float,
    options: SyncOptions,
) -> tuple:
    from ..omnisync_core.footprint import check_memory
    from ..omnisync_core.pipeline import sync_frames
    from ..omnisync_core.progress import Summary

    frames = host.images_to_core(images)
    waveform = sounds.waveform(audio, seconds=len(frames) / fps)
    if sound is not None:
        sounds.audio_to_core(sound, name="sound")  # an error now, and not in the node that saves
    plan = _plan(frames, waveform, fps=fps, length=options.length)
    count, height, width = frames.shape[:3]
    need = check_memory(len(plan.frames), height, width, channels=images.shape[-1])
    logger.info("%s: takes about %.1f GB of memory", LipSync.TITLE, need / 1e9)
    frames, images = frames[plan.frames], images[torch.from_numpy(plan.frames)]
    summary, times, seen = Summary(), np.arange(count) / fps, strip.Strip(host.progress())
    with _placed(
        options, mouth, times=times, width=width, height=height, shown=plan.frames
    ) as options:
        edited = sync_frames(
            host.ready(model),
            frames,
            waveform,
            plan.times,
            options=options,
            callback=seen,
            summary=summary,
        )
    said = widgets.report(summary)
    logger.info("%s: %s", LipSync.TITLE, said)
    result = host.images_from_core(edited, frames, images)
    video = host.video_from_images(  # last: a cancel leaves no file
        edited,
        audio if sound is None else sound,
        fps=fps,
        metadata={"omnisync_model": model.network.config.name},
    )
    loud = measures.loudness(waveform, plan.times)
    return host.shown((video, result, said), omnisync_strip=seen.told(loud))


def _plan(frames: np.ndarray, waveform: np.ndarray, *, fps: float, length: Length) -> LengthPlan:
    """Which frames to show, as for a file of the same frames."""
    from ..omnisync_core.audio import SAMPLE_RATE
    from ..omnisync_core.media import VideoInfo, match_length

    count, height, width = frames.shape[:3]
    rate = host.exact_rate(fps)
    info = VideoInfo(
        width=width,
        height=height,
        frames=count,
        rate=rate,
        times=np.arange(count) / fps,
        variable_rate=False,
        has_audio=False,
        duration=count / fps,
    )
    return match_length(info, len(waveform) / SAMPLE_RATE, length)
