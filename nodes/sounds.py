"""AUDIO -> what the core takes: any mapping with a waveform, whoever made it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..omnisync_core.errors import UserError


def audio_to_core(
    audio: Any, *, name: str = "audio", seconds: float | None = None
) -> tuple[np.ndarray, int]:
    """AUDIO (any mapping) -> float32 samples [channels, n] in [-1, 1] and their rate.

    seconds: how long the picture is. Raises UserError for no sound, none of length, or NaN.
    """
    if audio is None:
        raise UserError(
            f"{name}: expected a sound, got nothing: the clip that it comes from has no sound "
            "track. Connect Load Audio."
        )
    if not isinstance(audio, Mapping) or not {"waveform", "sample_rate"} <= set(audio):
        raise UserError(
            f"{name}: expected an AUDIO with waveform and sample_rate, got {type(audio).__name__}."
        )
    waveform, rate = audio["waveform"], audio["sample_rate"]
    if not isinstance(waveform, Tensor) or not isinstance(rate, (int, float)) or rate < 1:
        raise UserError(
            f"{name}: expected an AUDIO with a tensor of samples and a rate in Hz, got "
            f"{type(waveform).__name__} at {rate!r} Hz; load or make it again."
        )
    rate = int(rate)
    if waveform.ndim == 3 and len(waveform) == 1:
        waveform = waveform[0]
    if waveform.ndim != 2 or 0 in waveform.shape:
        raise UserError(
            f"{name}: expected one sound [1, channels, samples] of some length, got shape "
            f"{tuple(waveform.shape)} at {rate} Hz; connect another sound, or one at a time."
        )
    if not waveform.dtype.is_floating_point:
        waveform = _from_integers(waveform, rate, seconds)
    samples = waveform.float().cpu().numpy()
    if not np.isfinite(samples).all():
        raise UserError(
            f"{name}: the sound holds samples that are not numbers (NaN or infinite); "
            "load or make it again."
        )
    return samples, rate


def waveform(audio: Any, *, name: str = "audio", seconds: float | None = None) -> np.ndarray:
    """AUDIO -> mono float32 [n] at the core's sample rate. Raises UserError as `audio_to_core`."""
    from ..omnisync_core.audio import SAMPLE_RATE
    from ..omnisync_core.media import read_audio

    return read_audio(audio_to_core(audio, name=name, seconds=seconds), rate=SAMPLE_RATE)


def _from_integers(waveform: Tensor, rate: int, seconds: float | None) -> Tensor:
    """ComfyUI before 0.4 hands over PCM sound of a video as integers, all channels in one row.

    How many there are does not travel with it; the length of the picture tells.
    """
    scaled = waveform.float() / -float(torch.iinfo(waveform.dtype).min)
    if len(waveform) == 1 and seconds:
        channels = round(waveform.shape[1] / rate / seconds)
        if channels > 1 and waveform.shape[1] % channels == 0:
            return scaled[0].reshape(-1, channels).T
    return scaled
