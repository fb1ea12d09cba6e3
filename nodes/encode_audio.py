"""OmniSync Audio Encode: AUDIO -> what the network hears at the time of each frame."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from . import host, measures, sockets, sounds, widgets


class AudioEncode:
    TITLE = "OmniSync Audio Encode"
    CATEGORY = widgets.CATEGORY
    DESCRIPTION = (
        "Turns a voice into what the model hears at the time of each frame, at any frame rate. "
        "Any sound will do: mono or stereo, any sample rate."
    )
    FUNCTION = "encode"
    RETURN_TYPES = (sockets.AUDIO, "INT")
    RETURN_NAMES = ("encoded_audio", "frames")
    OUTPUT_TOOLTIPS = (
        "The voice, frame by frame, for OmniSync Sampler.",
        "For how many frames it was encoded.",
    )
    SEARCH_ALIASES = ("lip sync audio", "voice features")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "model": widgets.model_socket(),
                "audio": ("AUDIO", {"tooltip": "The new voice."}),
                "fps": widgets.fps(),
                "frames": (
                    "INT",
                    {
                        "default": 0,
                        "min": 0,
                        "max": 1_000_000,
                        "tooltip": "For how many frames; 0 is as long as the sound lasts. Ignored "
                        "when images are connected.",
                    },
                ),
            },
            "optional": {
                "images": widgets.images_socket(
                    "The frames that will be edited: the voice is encoded for exactly as many."
                ),
            },
        }

    @widgets.names_itself
    def encode(
        self, model: Any, audio: Any, fps: float, frames: int, *, images: Any = None
    ) -> tuple:
        from ..omnisync_core.audio import SAMPLE_RATE

        widgets.expect(model, sockets.LoadedModel, "model", source="OmniSync Model Loader")
        if images is not None:
            host.check_images(images)
        known = frames if images is None else len(images)
        waveform = sounds.waveform(audio, seconds=known / fps or None)
        count = known or max(1, round(len(waveform) / SAMPLE_RATE * fps))
        times = np.arange(count) / fps
        heard = host.ready(model).encode_audio(torch.from_numpy(waveform), torch.from_numpy(times))
        return (sockets.EncodedAudio(heard, fps, measures.loudness(waveform, times)), count)
