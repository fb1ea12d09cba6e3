"""Phones to moving lips: visemes, coarticulation, and the head's expression weights.

In: phones with times. Out: articulation curves [n, 8] in [0, 1] at any time stamps, viseme classes
[n], and weights for a rigged head's expressions. A viseme is a target for eight articulators;
neighbouring visemes blend by dominance functions (Cohen and Massaro, "Modeling coarticulation in
synthetic visual speech", 1993): each phone pulls on each articulator with its own strength, which
decays exponentially before and after the phone. Lips must meet for p, b, m, so there the closure is
dominant; k, g, h leave the lips to the vowels around them.

The table's targets and strengths are judgements from how each sound is made (place, rounding,
height), relative openings of ARKit-named blendshapes; they measure no speaker. Only the closures
of p, b, m were checked on renders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .tts import Phone

ARTICULATORS = ("jaw", "wide", "pucker", "funnel", "press", "lower", "upper", "tuck")


@dataclass(frozen=True)
class Viseme:
    """A mouth shape: eight articulators in [0, 1], how strongly lips and jaw insist on them, and
    the letters of its IPA symbols."""

    name: str
    target: tuple[float, ...]
    lips: float
    jaw: float
    symbols: str


# jaw wide pucker funnel press lower upper tuck; strengths 0..1; IPA symbols by their first letter.
VISEMES = (
    Viseme("rest", (0.0, 0, 0, 0, 0.20, 0, 0, 0), 0.5, 0.5, ""),
    Viseme("pbm", (0.0, 0.05, 0, 0, 1, 0, 0, 0), 1.0, 0.8, "pbmɓ"),
    Viseme("fv", (0.10, 0.1, 0, 0, 0, 0.05, 0.35, 0.9), 0.9, 0.6, "fvʋɱ"),
    Viseme("th", (0.14, 0.15, 0, 0, 0, 0.40, 0.20, 0), 0.35, 0.4, "θð"),
    Viseme("td", (0.13, 0.15, 0, 0, 0, 0.35, 0.15, 0), 0.25, 0.35, "tdnlɾɭɬɖʈɳɫrʎɲ"),
    Viseme("sz", (0.07, 0.35, 0, 0, 0, 0.50, 0.25, 0), 0.45, 0.6, "szɕʑ"),
    Viseme("sh", (0.09, 0, 0.25, 0.75, 0, 0.35, 0.30, 0), 0.8, 0.6, "ʃʒʂʐ"),
    Viseme("kg", (0.20, 0.1, 0, 0, 0, 0.20, 0.10, 0), 0.12, 0.2, "kgɡhxɣŋqχħɦʔcɟçʁʀʝ"),
    Viseme("r", (0.14, 0, 0.30, 0.35, 0, 0.20, 0.10, 0), 0.45, 0.4, "ɹɻɽ"),
    Viseme("w", (0.07, 0, 0.95, 0.35, 0, 0.05, 0.05, 0), 0.9, 0.5, "wɥʍ"),
    Viseme("oo", (0.14, 0, 0.80, 0.40, 0, 0.10, 0.05, 0), 0.7, 0.6, "uʊɯʉyʏ"),
    Viseme("oh", (0.36, 0, 0.35, 0.60, 0, 0.20, 0.10, 0), 0.65, 0.7, "oɔɒøœɵɞ"),
    Viseme("ah", (0.62, 0.15, 0, 0, 0, 0.35, 0.20, 0), 0.6, 0.9, "aɑäɐæʌɶ"),
    Viseme("eh", (0.38, 0.40, 0, 0, 0, 0.45, 0.25, 0), 0.55, 0.7, "eɛɜ"),
    Viseme("uh", (0.28, 0.1, 0, 0, 0, 0.25, 0.10, 0), 0.35, 0.5, "əɚɝɘɤ"),
    Viseme("ee", (0.15, 0.65, 0, 0, 0, 0.40, 0.25, 0), 0.6, 0.6, "iɪjɨ"),
)
VISEME_NAMES = tuple(viseme.name for viseme in VISEMES)
_CLASS_OF = {letter: i for i, viseme in enumerate(VISEMES) for letter in viseme.symbols}
_TARGETS = np.array([viseme.target for viseme in VISEMES], np.float32)
# Strength per articulator: the jaw's own for the jaw, the lips' for the rest.
_STRENGTHS = np.array([[v.jaw] + [v.lips] * 7 for v in VISEMES], np.float32)
# Rates of the dominance functions before and after a sound, in 1/s: lips start towards a sound
# about a tenth of a second early and let go faster. Chosen, not fitted.
_LEAD_RATE, _TRAIL_RATE = 22.0, 30.0
# Seconds in which lips part or meet around the contact: one token of the voice.
_CLOSING_TIME = 0.02
_CLOSURE = ARTICULATORS.index("press")


def viseme_class(symbol: str) -> int:
    """Index into VISEMES of an IPA symbol; affricates go by their second letter (tʃ as ʃ)."""
    letters = [letter for letter in symbol if letter in _CLASS_OF]
    if not letters:
        return 0 if not symbol else VISEME_NAMES.index("kg")
    affricate = len(letters) > 1 and letters[0] in "td" and letters[1] in "ʃʒsʂɕʑz"
    return _CLASS_OF[letters[1] if affricate else letters[0]]


def _segments(phones: Sequence[Phone]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Classes, starts and stops; a diphthong becomes two segments, so that its glide is seen."""
    rows: list[tuple[int, float, float]] = []
    for phone in phones:
        first, vowels = viseme_class(phone.symbol), "aeouɔʌɐ"
        glide = phone.symbol[-1:] if phone.symbol[:1] in vowels and len(phone.symbol) > 1 else ""
        if glide in _CLASS_OF and _CLASS_OF[glide] != first:
            middle = phone.start + 0.6 * (phone.stop - phone.start)
            rows += [(first, phone.start, middle), (_CLASS_OF[glide], middle, phone.stop)]
        else:
            rows.append((first, phone.start, phone.stop))
    classes, starts, stops = zip(*rows, strict=True) if rows else ((0,), (0.0,), (0.0,))
    return np.array(classes), np.array(starts), np.array(stops)


def articulation(phones: Sequence[Phone], times: np.ndarray) -> np.ndarray:
    """Articulators [n, 8] float32 in [0, 1] at times [n] in seconds; rest outside the phones."""
    classes, starts, stops = _segments(phones)
    ends = (starts[0], stops[-1])
    classes = np.concatenate([[0], classes, [0]])
    starts = np.concatenate([[ends[0] - 60.0], starts, [ends[1]]])
    stops = np.concatenate([[ends[0]], stops, [ends[1] + 60.0]])
    early = np.maximum(starts[None] - times[:, None], 0)
    late = np.maximum(times[:, None] - stops[None], 0)
    decay = np.exp(-_LEAD_RATE * early - _TRAIL_RATE * late)  # [n, phones]
    # A phone pulls for as long as it lasts: short ones reach their target less (undershoot at
    # speed).
    weight = np.minimum((stops - starts) / 0.06, 1.0)[None] * decay
    dominance = weight[:, :, None] * _STRENGTHS[classes][None] ** 1.5
    curves = (dominance * _TARGETS[classes][None]).sum(1) / dominance.sum(1)
    # Contact is a collision, no average: while p, b, m last the lips are shut, whatever comes next
    # and however far apart the time stamps are.
    gap = (early + late)[:, classes == VISEME_NAMES.index("pbm")].min(1, initial=np.inf)
    closed = np.clip(1 - gap / _CLOSING_TIME, 0, 1)
    curves[:, _CLOSURE] = np.maximum(curves[:, _CLOSURE], closed)
    return curves.astype(np.float32)


def viseme_track(phones: Sequence[Phone], times: np.ndarray) -> np.ndarray:
    """Viseme class [n] int64 at times [n] in seconds; 0 (rest) where no phone is."""
    classes, starts, stops = _segments(phones)
    index = np.searchsorted(starts, times, side="right") - 1
    inside = (index >= 0) & (times < stops[np.clip(index, 0, None)])
    return np.where(inside, classes[np.clip(index, 0, None)], 0).astype(np.int64)


def expression_weights(
    curves: np.ndarray, names: Sequence[str], *, strength: float = 1.0
) -> np.ndarray:
    """Weights [n, len(names)] float32 for ARKit-named expressions from articulator curves [n, 8].

    strength scales how far this speaker moves (about 0.7 mumbling to 1.2 clear); closures stay
    whole.
    """
    jaw, wide, pucker, funnel, press, lower, upper, tuck = np.moveaxis(curves, -1, 0)
    moving = strength * (1 - press)
    recipe = {
        "jawOpen": jaw * strength * (1 - 0.95 * press),
        "mouthPucker": pucker * strength,
        "mouthFunnel": funnel * moving,
        "mouthRollLower": np.clip(0.9 * tuck + 0.35 * press, 0, 1),
        "mouthRollUpper": 0.3 * press,
        "mouthStretch": 0.5 * wide * strength,
        "mouthSmile": 0.25 * wide * strength,
        "mouthPress": 0.6 * press,
        "mouthLowerDown": lower * moving,
        "mouthUpperUp": upper * moving,
    }
    weights = np.zeros((len(curves), len(names)), np.float32)
    for i, name in enumerate(names):
        value = recipe.get(name.removesuffix("_L").removesuffix("_R"))
        if value is not None:
            weights[:, i] = value
    return weights
