"""Does the voice encoder hear what lips do? The opening that it expects against known lips.

    python benchmarks/measure_lips.py CLIPS/*.mp4          # in an environment that has mediapipe
    python benchmarks/hearing.py WEIGHTS [--clips CLIPS]

WEIGHTS: a model, or voice.safetensors of training/voice.py. Its tokens are read by linear heads,
fitted here by ridge regression: the lips' opening on GRID clips of eleven speakers, with the
strength that reads a speaker left out of the fit best; the articulators on synthesised speech.
CLIPS: videos of people who speak, NAME.mp4.lips.npz beside each (default: those of
$OMNISYNC_DATA/clips/dev). Curves are compared as omnisync_core/evaluation/curves.py says: on a 100
Hz clock, 0.5 to 10 Hz, Pearson.

Real clips, median: `r0` as they came; `peak` at the best lag within +-200 ms, for clips from the
web are often out of sync; `corrected` at the lag that fits the clip's other half best, which owes
nothing to luck; `mismatched` the peak with the next clip's sound: what luck alone reaches.

Rendered sentences: the rig's true opening (inner lips, centimetres) in eight languages and
timbres that training did not use, clean and under pink noise with another voice, together 10 and 0
dB below the speech. `lips`: the expected opening; `rig`: the rig moved by the heard articulators.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from curves import CLOCK, agreement, on_clock
from pairing import RATE, data_folder, read_sound

from omnisync_core.audio import AudioEncoder
from omnisync_core.training.heads import HeadKit
from omnisync_core.training.tts import Phone, synthesise
from omnisync_core.training.visemes import articulation, expression_weights
from omnisync_core.training.voice import (
    HELD_OUT_VARIANTS,
    LANGUAGES,
    from_phones,
    grid_utterances,
    load_encoder,
    random_text,
    synthesise_utterance,
    token_times,
)

_SPOKEN = ("cmn", "en-us", "ja", "ko", "fr", "de", "es", "ru")
_LEVELS = (None, 10, 0)
"""Signal over noise in dB; None is clean."""
_SEED = 870_000
_ONE_SPEAKER, _SPEAKERS, _EACH = 70, 10, 3
"""GRID clips of grid_s1, and what grid_other holds: speakers with so many clips each, which count
that many times."""
_RIDGES = (0.01, 0.1, 0.3, 1.0, 3.0)
_SPOKEN_RIDGE = 0.001
_UTTERANCES = 160

Curve = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Reading:
    """A linear reading of tokens [m, d]: read(tokens) -> values [m, k]."""

    mean: np.ndarray
    weights: np.ndarray
    offset: np.ndarray

    @classmethod
    def fit(cls, pairs: list[tuple[np.ndarray, np.ndarray]], ridge: float) -> Reading:
        """From tokens and values [m, k]; ridge relative to the tokens' mean square."""
        x, y = (np.concatenate(part).astype(np.float64) for part in zip(*pairs, strict=True))
        mean, offset = x.mean(0), y.mean(0)
        x = x - mean
        spread = x.T @ x / len(x)
        spread += ridge * spread.diagonal().mean() * np.eye(len(spread))
        return cls(mean, np.linalg.solve(spread, x.T @ (y - offset) / len(x)), offset)

    def read(self, tokens: np.ndarray) -> np.ndarray:
        return (tokens - self.mean) @ self.weights + self.offset


@dataclass(frozen=True)
class Listener:
    """A voice encoder, and what its tokens say of lips and articulators."""

    encoder: AudioEncoder
    lips: Reading
    articulators: Reading

    def tokens(self, sound: np.ndarray) -> np.ndarray:
        return heard(self.encoder, sound)


def heard(encoder: AudioEncoder, sound: np.ndarray) -> np.ndarray:
    """Tokens [m, d] of a sound [n] at 16 kHz."""
    return encoder.encode(torch.from_numpy(np.array(sound))).numpy()


def lips_of_grid(encoder: AudioEncoder) -> tuple[Reading, float, float]:
    """How tokens tell the lips' opening; the ridge, and the median correlation that it reaches on
    speakers left out of the fit."""

    def pairs(name: str, most: int) -> list[tuple[np.ndarray, np.ndarray]]:
        found = grid_utterances(data_folder() / "clips/train" / name, most=most).values()
        lips = [one.lips[:, :1] for one in found]  # every speaker's in units of his own
        lips = [(one - one.mean()) / one.std() for one in lips]
        tokens = [heard(encoder, one.waveform) for one in found]
        return list(zip(tokens, lips, strict=True))

    one, others = pairs("grid_s1", _ONE_SPEAKER), pairs("grid_other", _SPEAKERS * _EACH)
    speakers = [others[_EACH * k :][:_EACH] for k in range(_SPEAKERS)]
    reached = {}
    for ridge in _RIDGES:
        found = []
        for left_out in speakers:
            rest = [pair for speaker in speakers if speaker is not left_out for pair in speaker]
            reading = Reading.fit(one + _EACH * rest, ridge)
            found += [np.corrcoef(reading.read(x)[:, 0], y[:, 0])[0, 1] for x, y in left_out]
        reached[ridge] = float(np.median(found))
    best = max(reached, key=lambda ridge: reached[ridge])
    return Reading.fit(one + _EACH * others, best), best, reached[best]


def articulators_of_speech(encoder: AudioEncoder) -> Reading:
    """How tokens tell the articulators, from voices that training may use."""
    rng = np.random.default_rng(_SEED - 1)
    said = [from_phones(*synthesise_utterance(rng)) for _ in range(_UTTERANCES)]
    pairs = [(heard(encoder, one.waveform), one.articulators) for one in said]
    return Reading.fit(pairs, _SPOKEN_RIDGE)


def _part(curve: Curve, where: slice) -> Curve:
    return curve[0][where], curve[1][where]


def real_clip(mouth: Curve, heard: Curve, other: Curve) -> dict[str, float]:
    """The figures of one clip; curves with where they are known, on the 100 Hz clock."""
    found = agreement(mouth, heard)
    half = min(len(mouth[0]), len(heard[0])) // 2
    parts = [slice(0, half), slice(half, 2 * half)]
    corrected = []
    for one, other_one in (parts, parts[::-1]):
        lag = agreement(_part(mouth, one), _part(heard, one))["lag"]
        if np.isfinite(lag):
            curve, known = (np.roll(values, round(lag * CLOCK / 1000)) for values in heard)
            moved = _part((curve, known), other_one)
            corrected.append(agreement(_part(mouth, other_one), moved)["r0"])
    return {
        **found,
        "corrected": float(np.mean(corrected)) if corrected else np.nan,
        "mismatched": agreement(mouth, other)["peak"],
    }


def real_clips(listener: Listener, folder: Path) -> dict[str, dict[str, float]]:
    """Figures of every clip of a folder with measured lips."""
    curves = {}
    for path in sorted(folder.glob("*.mp4")):
        measured = path.with_name(path.name + ".lips.npz")
        if not measured.exists():
            raise SystemExit(
                f"Expected {measured.name} beside its clip: run measure_lips.py first."
            )
        sound, lips = read_sound(path), np.load(measured)
        count = len(sound) * CLOCK // RATE
        mouth = on_clock(lips["times"], lips["opening"], count)
        opening = listener.lips.read(listener.tokens(sound))[:, 0]
        curves[path.stem] = mouth, on_clock(token_times(len(sound)), opening, count)
    if not curves:
        raise SystemExit(f"Expected clips (NAME.mp4) in {folder}, there are none.")
    names = list(curves)
    return {
        name: real_clip(curves[name][0], curves[name][1], curves[names[(i + 1) % len(names)]][1])
        for i, name in enumerate(names)
    }


def say(rng: np.random.Generator, language: str) -> tuple[np.ndarray, list[Phone]]:
    """A held-out timbre says random words: waveform [n] and phones."""
    voice = language + str(rng.choice(HELD_OUT_VARIANTS))
    return synthesise(
        random_text(rng, LANGUAGES[language]),
        voice=voice,
        rate=int(rng.integers(130, 210)),
        pitch=int(rng.integers(25, 75)),
    )


def worsen(sound: np.ndarray, other: np.ndarray, level: float, rng: np.random.Generator):
    """Sound [n] with pink noise and another voice, equally strong, `level` dB below it."""
    pink = np.fft.rfft(rng.standard_normal(len(sound)))
    pink = np.fft.irfft(pink / np.sqrt(np.maximum(np.arange(len(pink)), 1)), len(sound))
    other = np.resize(other, len(sound))
    both = pink / pink.std() + other / other.std()
    return (sound + both * sound.std() / both.std() * 10 ** (-level / 20)).astype(np.float32)


def rig_opening(kit: HeadKit, curves: np.ndarray) -> np.ndarray:
    """Inner lips apart [m], in centimetres, that articulators [m, 8] give the rig."""
    weights = expression_weights(curves.clip(0, 1), kit.expression_names)
    rest = kit.neutral[kit.landmarks[62]] - kit.neutral[kit.landmarks[66]]
    apart = rest + np.einsum(
        "me,ek->mk", weights, kit.landmark_delta[:, 62] - kit.landmark_delta[:, 66]
    )
    return apart[:, 1]


def rendered(listener: Listener, *, sentences: int) -> dict[tuple[str, float | None], tuple]:
    """(language, level) -> mean correlations of `lips` and `rig` with the true opening."""
    kit, found = HeadKit.load(data_folder() / "facekit.npz"), {}
    for i, language in enumerate(_SPOKEN):
        rows = {level: [] for level in _LEVELS}
        for k in range(sentences):
            rng = np.random.default_rng(_SEED + 100 * i + k)
            (sound, phones), (other, _) = say(rng, language), say(rng, "en-us")
            truth = rig_opening(kit, articulation(phones, token_times(len(sound))))
            for level in _LEVELS:
                noisy = sound if level is None else worsen(sound, other, level, rng)
                tokens = listener.tokens(noisy)
                lips = listener.lips.read(tokens)[:, 0]
                rig = rig_opening(kit, listener.articulators.read(tokens))
                rows[level].append([np.corrcoef(curve, truth)[0, 1] for curve in (lips, rig)])
        found.update({(language, level): np.mean(row, axis=0) for level, row in rows.items()})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("--clips", type=Path, help="default: $OMNISYNC_DATA/clips/dev")
    parser.add_argument("--model", default="mini", help="preset that the encoder is of")
    parser.add_argument("--sentences", type=int, default=6, help="per language")
    arguments = parser.parse_args()
    encoder, tell = load_encoder(arguments.weights, arguments.model).eval(), sys.stdout.write
    lips, ridge, known = lips_of_grid(encoder)
    tell(f"Speakers left out of the fit: {known:.2f} (ridge {ridge})\n\n")
    listener = Listener(encoder, lips, articulators_of_speech(encoder))
    clips = real_clips(listener, arguments.clips or data_folder() / "clips/dev")
    names = ("r0", "peak", "lag", "corrected", "mismatched")
    tell(f"| clip | {' | '.join(names)} |\n")
    for name, row in clips.items():
        tell(f"| {name} | {' | '.join(f'{row[n]:.2f}' for n in names)} |\n")
    medians = [np.nanmedian([row[n] for row in clips.values()]) for n in names]
    tell(f"| median | {' | '.join(f'{m:.2f}' for m in medians)} |\n\n")
    found = rendered(listener, sentences=arguments.sentences)
    tell("| language | level dB | lips | rig |\n")
    for (language, level), (lips, rig) in found.items():
        tell(f"| {language} | {'clean' if level is None else level} | {lips:.2f} | {rig:.2f} |\n")
    for level in _LEVELS:
        lips, rig = np.mean([row for (_, own), row in found.items() if own == level], axis=0)
        tell(f"| mean | {'clean' if level is None else level} | {lips:.2f} | {rig:.2f} |\n")


if __name__ == "__main__":
    main()
