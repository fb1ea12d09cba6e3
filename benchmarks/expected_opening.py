"""What a sound says about the lips: the opening that a linear reading of the spectrum expects.

In: a sound [n] at 16 kHz. Out: expected opening [m] at 100 Hz, band-passed like every curve, unit
variance in the corpus. Loudness says little about lips (hisses are loud and shut), so this second
ruler is a ridge regression, 24 mel bands at 9 times within +-120 ms to the measured opening,
fitted on the corpus' clips of eleven speakers. A speaker left out of the fit is read with r0 =
0.61, where the log energy reaches 0.17 and that of 500..1500 Hz 0.30. It shares no network with
the product, but the product's voice encoder learnt from lips of the same corpus. Used by
lip_sync.py.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from curves import CLOCK, agreement, band, energies, on_clock
from pairing import data_folder, read_sound

from omnisync_core.training.voice import lip_measures

_BANDS, _REACH, _STEP, _RIDGE = 24, 12, 3, 0.03
_CORPUS = {"grid_other": 30, "grid_s1": 20}
"""Clips per folder: 3 each of ten speakers and 20 of the eleventh."""


def spectrum(sound: np.ndarray) -> np.ndarray:
    """Features [m, 9 * 24] at 100 Hz: log mel energies without their mean, and their neighbours."""
    power = np.abs(np.fft.rfft(energies(sound), 512)) ** 2
    mel = np.linspace(2595 * np.log10(1 + 100 / 700), 2595 * np.log10(1 + 7000 / 700), _BANDS + 2)
    hertz, bins = 700 * (10 ** (mel / 2595) - 1), np.linspace(0, 8000, 257)
    rise = (bins[None] - hertz[:-2, None]) / np.diff(hertz)[:-1, None]
    fall = (hertz[2:, None] - bins[None]) / np.diff(hertz)[1:, None]
    bands = power @ np.clip(np.minimum(rise, fall), 0, None).T
    bands = np.log10(np.maximum(bands, max(bands.max(), 1e-12) * 1e-5))
    bands -= bands.mean(0)
    padded = np.pad(bands, ((_REACH, _REACH), (0, 0)), mode="edge")
    offsets = range(0, 2 * _REACH + 1, _STEP)
    return np.concatenate([padded[k : k + len(bands)] for k in offsets], axis=1)


def _corpus() -> list[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """(speaker's clip, features, opening, known) of each clip."""
    found = []
    for name, count in _CORPUS.items():
        folder = data_folder() / "clips/train" / name
        landmarks = np.load(folder / "landmarks.npz")
        for clip in landmarks.files[:count]:
            features = spectrum(read_sound(folder / f"{clip}.mp4"))
            opening = lip_measures(landmarks[clip])[:, 0]
            times = np.arange(len(opening)) / 25  # the corpus runs at 25 frames a second
            found.append((clip, features, *on_clock(times, opening, len(features))))
    return found


def _solve(rows: list[tuple[str, np.ndarray, np.ndarray, np.ndarray]]) -> np.ndarray:
    x = np.concatenate([features[known] for _, features, _, known in rows])
    openings = [(band(opening), known) for _, _, opening, known in rows]
    y = np.concatenate([(curve / curve.std())[known] for curve, known in openings])
    return np.linalg.solve(x.T @ x + _RIDGE * len(x) * np.eye(x.shape[1]), x.T @ y)


def fit(cache: Path) -> np.ndarray:
    """The weights, fitted once per cache file (half a minute)."""
    if not cache.exists():
        np.save(cache, _solve(_corpus()))
    return np.load(cache)


def leave_one_speaker_out() -> float:
    """Mean r0 over the clips of grid_other, each read by a fit that never met its speaker."""
    rows = _corpus()
    scores = []
    for first in range(0, _CORPUS["grid_other"], 3):  # three clips a speaker, in order
        weights = _solve(rows[:first] + rows[first + 3 :])
        for _, features, opening, known in rows[first : first + 3]:
            expected = (features @ weights, np.ones(len(features), bool))
            scores.append(agreement((opening, known), expected)["r0"])
    return float(np.mean(scores))


if __name__ == "__main__":
    import sys

    sys.stdout.write(f"leave one speaker out, {CLOCK} Hz: r0 {leave_one_speaker_out():.2f}\n")
