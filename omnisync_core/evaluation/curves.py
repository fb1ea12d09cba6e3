"""Lip and sound curves, and how well they agree.

Definitions:
- Envelope: log10 of the energy of 500..1500 Hz (open vowels; with the lips of a corpus in sync it
  agrees at r0 = 0.30, the whole band at 0.17) in 25 ms Hann windows every 10 ms, floored 30 dB
  below the loudest. Loudness: the same of the whole band, floored at 50 dB.
- Expected opening: see benchmarks/expected_opening.py.
- Both curves are put on one 100 Hz clock by linear interpolation and band-passed to 0.5..10 Hz
  (Butterworth, second order, forwards and backwards: no delay).
- r0: Pearson correlation of the two. Peak: the largest correlation over shifts within +-200 ms;
  lag: that shift in ms, positive when the mouth comes after the sound. The peak of unrelated curves
  is above 0 by construction: compare it between rows. Where no face was found nothing is counted.
- Moving in silence: share of silent time (loudness more than 35 dB below the loudest for longer
  than 0.3 s, 0.1 s at either end not counted) in which the opening, smoothed over 80 ms, changes
  faster than 0.6 face sizes a second (half the time of speech is faster).
- Closure recall: share of p, b, m whose smallest opening within one frame (40 ms) of the phone is
  within the lowest 10 % between the clip's 2nd and 95th percentile (the mesh puts closed lips a
  little apart, so the scale starts at the 2nd percentile and not at 0).
- Intervals: 95 % percentile bootstrap over clips (takes of one clip averaged first).
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_dilation, binary_erosion, binary_opening, uniform_filter1d
from scipy.signal import butter, sosfiltfilt

CLOCK = 100  # Hz
_MAX_LAG = 20  # 200 ms
_BAND = butter(2, (0.5, 10), "bandpass", fs=CLOCK, output="sos")
_MOVING = 0.6  # face sizes a second
_VOWELS = butter(2, (500, 1500), "bandpass", fs=16_000, output="sos")


def energies(sound: np.ndarray) -> np.ndarray:
    """Windowed pieces [m, 400] of a sound [n] at 16 kHz; piece k is centred on k * 10 ms."""
    hop, size = 160, 400
    padded = np.pad(sound.astype(np.float64), (size // 2, size))
    pieces = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    return pieces[: max(len(sound) // hop, 1)] * np.hanning(size + 2)[1:-1]


def _log_energy(sound: np.ndarray, floor: float) -> np.ndarray:
    energy = (energies(sound) ** 2).mean(1)
    return np.log10(np.maximum(energy, max(energy.max(), 1e-12) * 10 ** (-floor / 10)))


def loudness(sound: np.ndarray) -> np.ndarray:
    """Log energy [m] of the whole band at 100 Hz."""
    return _log_energy(sound, 50)


def envelope(sound: np.ndarray) -> np.ndarray:
    """Log energy [m] of 500..1500 Hz at 100 Hz."""
    return _log_energy(sosfiltfilt(_VOWELS, sound), 30)


def on_clock(times: np.ndarray, values: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Values [count] at 100 Hz and where they are known; NaN gaps are bridged but not known."""
    clock, good = np.arange(count) / CLOCK, np.isfinite(values)
    if good.sum() < 8:
        return np.zeros(count), np.zeros(count, bool)
    known = np.interp(clock, times, good.astype(float)) > 0.99
    known &= clock <= times[-1]
    return np.interp(clock, times[good], values[good]), known


def band(curve: np.ndarray) -> np.ndarray:
    """0.5..10 Hz of a curve at 100 Hz, without delay."""
    return sosfiltfilt(_BAND, curve, padlen=min(150, len(curve) - 2))


def _pearson(a: np.ndarray, b: np.ndarray) -> float:
    if len(a) < CLOCK or a.std() < 1e-9 or b.std() < 1e-9:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def agreement(
    mouth: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]
) -> dict[str, float]:
    """r0, peak and lag (ms) of two (curve, known) pairs on the 100 Hz clock, cut to the shorter."""
    count = min(len(mouth[0]), len(other[0]))
    if count < CLOCK:
        return {"r0": np.nan, "peak": np.nan, "lag": np.nan}
    a, b = band(mouth[0][:count]), band(other[0][:count])
    known_a, known_b = mouth[1][:count], other[1][:count]
    scores = []
    for lag in range(-_MAX_LAG, _MAX_LAG + 1):
        now, before = (
            slice(max(lag, 0), count + min(lag, 0)),
            slice(max(-lag, 0), count - max(lag, 0)),
        )
        both = known_a[now] & known_b[before]
        scores.append(_pearson(a[now][both], b[before][both]))
    if not np.isfinite(scores).all():
        return {"r0": np.nan, "peak": np.nan, "lag": np.nan}
    best = int(np.argmax(scores))
    lag_ms = 1000 * (best - _MAX_LAG) / CLOCK
    return {"r0": scores[_MAX_LAG], "peak": scores[best], "lag": lag_ms}


def silent(loud: np.ndarray) -> np.ndarray:
    """Where [m] the loudness says silence, without its ends."""
    quiet = loud < loud.max() - 3.5
    return binary_erosion(binary_opening(quiet, np.ones(30)), np.ones(21), border_value=1)


def moving_in_silence(mouth: tuple[np.ndarray, np.ndarray], loud: np.ndarray) -> float:
    """Share of silent time in which the lips move; NaN without 0.2 s of silence."""
    count = min(len(mouth[0]), len(loud))
    where = silent(loud[:count]) & mouth[1][:count]
    if where.sum() < 20:
        return float("nan")
    smooth = uniform_filter1d(mouth[0][:count], 8, mode="nearest")
    speed = np.abs(np.gradient(smooth)) * CLOCK
    return float((speed[where] > _MOVING).mean())


def closure_recall(
    mouth: tuple[np.ndarray, np.ndarray], closures: list[tuple[float, float]], *, around: int = 4
) -> float:
    """Share of the closures (start, stop in seconds) at which the lips meet, or within `around`
    hundredths of a second of them; NaN without any."""
    curve, known = mouth
    if not known.any():
        return float("nan")
    low, high = np.percentile(curve[known], (2, 95))
    met = []
    for start, stop in closures:
        phone = np.zeros(len(curve), bool)
        phone[int(start * CLOCK) : int(stop * CLOCK) + 1] = True
        near = binary_dilation(phone, np.ones(2 * around + 1)) & known
        if near.any():
            met.append(bool(curve[near].min() < low + 0.1 * (high - low)))
    return float(np.mean(met)) if met else float("nan")


def interval(values: list[float], clips: list[str]) -> dict[str, float]:
    """Mean over clips of the known values and its 95 % bootstrap interval."""
    by_clip: dict[str, list[float]] = {}
    for value, clip in zip(values, clips, strict=True):
        if np.isfinite(value):
            by_clip.setdefault(clip, []).append(value)
    means = np.array([np.mean(rows) for rows in by_clip.values()])
    if not len(means):
        return {"mean": np.nan, "low": np.nan, "high": np.nan, "clips": 0}
    draws = np.random.default_rng(0).integers(len(means), size=(10_000, len(means)))
    low, high = np.percentile(means[draws].mean(1), (2.5, 97.5))
    return {"mean": means.mean(), "low": low, "high": high, "clips": len(means)}


def cell(figure: dict[str, float], *, digits: int = 2) -> str:
    """`mean (low .. high)` for a table; the mean alone of one clip, which has no interval."""
    if not figure["clips"]:
        return "-"
    if figure["clips"] == 1:
        return f"{figure['mean']:.{digits}f}"
    mean, low, high = (f"{figure[name]:.{digits}f}" for name in ("mean", "low", "high"))
    return f"{mean} ({low} .. {high})"


def table(header: list[str], rows: list[list[str]]) -> str:
    """A markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
