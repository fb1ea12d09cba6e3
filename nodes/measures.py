"""Figures of an edit: does the mouth follow the voice, what else changed, does it flicker.

In: frames uint8 [h, w, 3] of source and edit in pairs, where the mouth is, the voice. Out: curves
over the frames and a few numbers. Nothing here is learned, so nothing can be learned by heart; how
far each number goes is said beside it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from ..omnisync_core.audio import SAMPLE_RATE
from ..omnisync_core.composite import take_crop
from ..omnisync_core.guidance import MOUTH_CENTRE
from ..omnisync_core.region import Box, Track

# The mouth is read in crops of this many pixels a side, from the middle part that lips and teeth
# reach: the standard crop has a mouth of 0.4 of its width.
_CROP, _HALF_WIDTH, _HALF_HEIGHT = 64, 0.2, 0.22
# Loudness of a voice rises and falls with its syllables, 4 to 5 a second; a window of 50 ms keeps
# them and loses the pitch.
_LOUDNESS_SECONDS = 0.05
# Quieter than this below the loudest moment is silence, in decibels.
_SILENCE = -40.0
# Lips may lead or follow the sound by this much; viewers accept about a tenth of a second.
_LAG = 0.2
# A correlation over fewer frames says nothing.
_FEWEST = 10


@dataclass
class Curves:
    """One value for each frame; NaN where no mouth was found."""

    opening_before: list[float] = field(default_factory=list)
    """How dark the inside of the source's mouth is, in [0, 1]: an open mouth shows its cavity."""
    opening_after: list[float] = field(default_factory=list)
    """The same of the edit."""
    changed: list[float] = field(default_factory=list)
    """Mean absolute change inside the crop, in grey levels of 255."""
    outside: list[float] = field(default_factory=list)
    """Mean absolute change outside of it (of the whole frame without a mouth)."""
    jitter_before: list[float] = field(default_factory=list)
    """Mean absolute second difference in time inside the crop, in grey levels; NaN at ends."""
    jitter_after: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Sync:
    """How a curve follows the voice's loudness."""

    correlation: float
    """The largest over the lags tried, in [-1, 1]; NaN when there is too little to tell."""
    lag: float
    """Where it is, in seconds; positive: the mouth is late."""


def compare(
    pairs: Iterable[tuple[np.ndarray, np.ndarray]], track: Track, cuts: tuple[int, ...] = ()
) -> Curves:
    """Curves of frame pairs (source, edited); track: one box or None per frame."""
    curves = Curves()
    history: list[tuple[np.ndarray, np.ndarray]] = []  # crops of up to three frames of one shot
    for i, ((before, after), box) in enumerate(zip(pairs, track, strict=True)):
        difference = np.abs(after.astype(np.int16) - before).mean(-1)
        if box is None or i in cuts:
            history.clear()
        if box is None:
            values = (np.nan, np.nan, np.nan, float(difference.mean()), np.nan, np.nan)
        else:
            crops = _grey(before, box), _grey(after, box)
            history = [*history[-2:], crops]
            inside = _inside(box, *difference.shape)
            values = (
                _darkness(crops[0]),
                _darkness(crops[1]),
                _mean(difference[inside]),
                _mean(difference[~inside]),
                *(_second_difference([h[k] for h in history]) for k in (0, 1)),
            )
        for curve, value in zip(vars(curves).values(), values, strict=True):
            curve.append(value)
    return curves


def opening(crop: Tensor) -> float:
    """How open a mouth looks, in [0, 1]: of a standard crop [3 s s] in [-1, 1]."""
    small = F.interpolate(crop[None].float(), (_CROP, _CROP), mode="area")[0]
    return _darkness((small.mean(0).cpu().numpy() + 1) / 2)


def loudness(waveform: np.ndarray, times: np.ndarray) -> np.ndarray:
    """The voice [n] at 16 kHz, heard at times [f] s -> [f] in [0, 1]: 0 silence, 1 the loudest."""
    half = round(_LOUDNESS_SECONDS * SAMPLE_RATE / 2)
    middle = np.round(np.asarray(times) * SAMPLE_RATE).astype(int)
    heard = (waveform[max(0, i - half) : max(0, i + half)] for i in middle)
    power = np.array([np.square(part, dtype=np.float64).sum() for part in heard]) / (2 * half)
    decibels = 10 * np.log10(np.maximum(power / max(power.max(), 1e-12), 1e-12))
    return np.clip(1 - decibels / _SILENCE, 0, 1) if power.max() > 0 else np.zeros(len(times))


def sync(opening: np.ndarray, loud: np.ndarray, rate: float) -> Sync:
    """How the opening [f] follows the loudness [f]: the best correlation over small lags."""
    most = round(_LAG * rate)
    found = {lag: _correlation(opening, loud, lag) for lag in range(-most, most + 1)}
    known = {lag: value for lag, value in found.items() if np.isfinite(value)}
    if not known:
        return Sync(float("nan"), float("nan"))
    best = max(known, key=lambda lag: (known[lag], -abs(lag)))
    return Sync(known[best], best / rate)


def mean_of(values: list[float]) -> float:
    """The mean of what is known; NaN when nothing is."""
    return _mean(np.array(values)[np.isfinite(values)])


def _correlation(opening: np.ndarray, loud: np.ndarray, lag: int) -> float:
    """Pearson's, of the mouth `lag` frames after the sound."""
    late, early = max(lag, 0), max(-lag, 0)
    mouth, sound = opening[late : len(opening) - early], loud[early : len(loud) - late]
    known = np.isfinite(mouth)
    if known.sum() < _FEWEST or mouth[known].std() < 1e-6 or sound[known].std() < 1e-6:
        return float("nan")
    return float(np.corrcoef(mouth[known], sound[known])[0, 1])


def _grey(frame: np.ndarray, box: Box) -> np.ndarray:
    """The crop as grey f32 [n n] in [0, 1]."""
    return (take_crop(frame, box, _CROP).mean(0).numpy() + 1) / 2


def _darkness(crop: np.ndarray) -> float:
    """How much darker than the crop's middle grey the inside of the mouth is, on average."""
    cx, cy = (round(_CROP * c) for c in MOUTH_CENTRE)
    x, y = round(_CROP * _HALF_WIDTH), round(_CROP * _HALF_HEIGHT)
    mouth = crop[max(0, cy - y) : cy + y, cx - x : cx + x]
    return float(np.clip(np.median(crop) - mouth, 0, None).mean())


def _second_difference(crops: list[np.ndarray]) -> float:
    if len(crops) < 3:
        return float("nan")
    return float(255 * np.abs(crops[0] - 2 * crops[1] + crops[2]).mean())


def _inside(box: Box, height: int, width: int) -> np.ndarray:
    """Bool [h w]: the pixels that the crop touches."""
    rows = np.abs(np.arange(height) + 0.5 - box.cy) < box.side / 2 + 0.5
    columns = np.abs(np.arange(width) + 0.5 - box.cx) < box.side / 2 + 0.5
    return rows[:, None] & columns


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")
