"""Figures of the lips: what a ruler reads of a result, against the truth, the voice, the phones.

Which ruler, docs/benchmark.md: where the source's true lips are known (built-in clips, landmarks of
the user's), a regression fitted on that face (`ruler.py`) gives opening and lip points; else the
reader that ships (`lip_reader.py`) gives the opening alone.
"""

from __future__ import annotations

import numpy as np

from .clips import Clip
from .curves import agreement, closure_recall, envelope, loudness, on_clock, silent
from .judge import mouth_pictures
from .lip_reader import read_openings

_LEAK = 0.25  # of the source's 95th percentile: from here lips count as open
_GROUPS = {1: 0, 2: 1, 6: 2, 8: 2, 9: 2, 10: 2, 11: 2, 12: 3, 13: 3}
"""Viseme class -> closed, teeth on lip, round, open; all others (but rest) are 4."""
_OPEN = (12, 13)  # ah and eh
_FEWEST = 3  # frames of the source from which a group's prototype is taken
Curve = tuple[np.ndarray, np.ndarray]
"""Values at 100 Hz, and where they are known."""


def read(clip: Clip, frames: np.ndarray) -> np.ndarray:
    """Opening over the crop's side and, where the ruler is the face's own, 20 lip points in
    distances of the eyes: [g, 41]; NaN behind an occluder and where it cannot be read."""
    out = np.full((len(frames), 41), np.nan)
    if clip.ruler is not None:
        out[:] = clip.ruler(clip.looks(frames))
    elif "source" not in clip.numbers:
        places, sides = (clip.numbers[name][: len(frames)] for name in ("places", "sides"))
        out[:, 0] = read_openings(mouth_pictures(frames, places, sides))
    out[clip.hidden[: len(frames)]] = np.nan
    return out


def read_truth(clip: Clip) -> np.ndarray:
    """The truth video [f, 41] as the ruler reads it; NaN where there is none."""
    if clip.truth is None:
        return np.full((len(clip.source), 41), np.nan)
    truth = clip.truth
    return clip.once("read truth", lambda: read(clip, truth))


def _true(clip: Clip) -> tuple[np.ndarray, np.ndarray]:
    """True openings [f] and lips [f, 40]: known, or as read of the truth video."""
    if "truth" in clip.numbers:
        return clip.numbers["truth"], clip.numbers["truth_lips"]
    found = read_truth(clip)
    return found[:, 0], found[:, 1:]


def _source_opening(clip: Clip) -> np.ndarray:
    if "source" in clip.numbers:
        return clip.numbers["source"]
    return clip.once("read source", lambda: read(clip, clip.source)[:, 0])


def lip_figures(clip: Clip, opening: np.ndarray, lips: np.ndarray) -> dict[str, float]:
    """All figures of read openings [g] and lips [g, 40]; g may be less than the truth's frames."""
    times, count = clip.numbers["times"], len(opening)
    mouth = on_clock(times[:count], opening, int(times[count - 1] * 100) + 1)
    heard = envelope(clip.sound)
    sound = agreement(mouth, (heard, np.ones(len(heard), bool)))
    figures = {
        "sound_r": sound["r0"],
        "sound_lag": sound["lag"],
        "visemes": viseme_share(clip, lips),
        "leak": _leak(mouth, clip),
    }
    if "phones" in clip.numbers:
        phones = clip.numbers["phones"]
        shut = [(float(a), float(b)) for a, b, kind in phones if kind == 1]
        wide = [((3 * a + b) / 4, (a + 3 * b) / 4) for a, b, kind in phones if kind in _OPEN]
        figures["closures"] = closure_recall(mouth, shut)
        figures["false_closures"] = closure_recall(mouth, wide, around=0)
    return figures | _against_truth(clip, opening, lips, mouth)


def _against_truth(
    clip: Clip, opening: np.ndarray, lips: np.ndarray, mouth: Curve
) -> dict[str, float]:
    true_opening, true_lips = (one[: len(opening)] for one in _true(clip))
    both = np.isfinite(opening) & np.isfinite(true_opening)
    if not both.any():
        return {}
    times = clip.numbers["times"][: len(opening)]
    true = on_clock(times, true_opening, len(mouth[0]))
    fit = agreement(mouth, true)
    figures = {"truth_r": fit["r0"], "truth_lag": fit["lag"]}
    if (mean := np.clip(true_opening[both], 0, None).mean()) > 1e-3:
        figures["open_ratio"] = float(np.clip(opening[both], 0, None).mean() / mean)
    apart = (lips - true_lips).reshape(-1, 2, 20)
    if np.isfinite(distance := 100 * np.linalg.norm(apart, axis=1)).any():
        figures["lmd"] = float(np.nanmean(distance))
    if "truth" in clip.numbers:  # only then does it know more than it read itself
        own = on_clock(times, read_truth(clip)[: len(opening), 0], len(mouth[0]))
        figures["ruler_r"] = agreement(own, true)["r0"]
    return figures


def viseme_share(clip: Clip, lips: np.ndarray) -> float:
    """Mean over groups of phones of the share whose read lips [f, 40], in the middle of the phone,
    are nearest to their group's prototype. Guessing gives one over the number of groups.

    Prototypes are the mean true lips of the source's frames of a group; groups that the source
    shows in fewer than three frames are left out. NaN without phones.
    """
    numbers = clip.numbers
    if "phones" not in numbers or "source_visemes" not in numbers:
        return float("nan")
    group = np.array([_GROUPS.get(int(v), 4) if v else -1 for v in numbers["source_visemes"]])
    kinds = [g for g in range(5) if (group == g).sum() >= _FEWEST]
    if len(kinds) < 2:
        return float("nan")
    prototypes = np.stack([numbers["source_lips"][group == g].mean(0) for g in kinds])
    times, right = numbers["times"][: len(lips)], {kind: [] for kind in kinds}
    for start, stop, kind in numbers["phones"]:
        middle, wanted = (start + stop) / 2, _GROUPS.get(int(kind), 4)
        seen = lips[np.abs(times - middle).argmin()]
        if kind and wanted in kinds and middle <= times[-1] and np.isfinite(seen).all():
            nearest = np.linalg.norm(prototypes - seen, axis=1).argmin()
            right[wanted].append(kinds[int(nearest)] == wanted)
    found = [np.mean(one) for one in right.values() if one]
    return float(np.mean(found)) if found else float("nan")


def _leak(mouth: Curve, clip: Clip) -> float:
    """Share of silent time in which the lips are open; a voice without any sound is all silent."""
    count = min(len(mouth[0]), len(clip.sound) // 160)
    loud = loudness(clip.sound)[:count]
    quiet = silent(loud) if np.abs(clip.sound).max() > 1e-4 else np.ones(count, bool)
    where = quiet & mouth[1][:count]
    limit = _LEAK * np.nanpercentile(_source_opening(clip), 95)
    return float((mouth[0][:count][where] > limit).mean()) if where.sum() >= 20 else float("nan")
