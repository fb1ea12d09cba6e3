"""Does the voice encoder hear what lips do? The opening that it expects against known lips.

    python benchmarks/measure_lips.py CLIPS/*.mp4          # in an environment that has mediapipe
    python benchmarks/hearing.py VOICE [--clips CLIPS]

VOICE: voice.safetensors of training/voice.py, encoder and heads. CLIPS: videos of people who speak,
NAME.mp4.lips.npz beside each (default: $OMNISYNC_DATA/clips/dev). Curves are compared as
omnisync_core/evaluation/curves.py says: on a 100 Hz clock, 0.5 to 10 Hz, Pearson.

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
from pathlib import Path

import numpy as np
import torch
from curves import CLOCK, agreement, on_clock
from pairing import RATE, data_folder, read_sound

from omnisync_core.training.heads import HeadKit
from omnisync_core.training.talking import Listener
from omnisync_core.training.tts import Phone, synthesise
from omnisync_core.training.visemes import articulation, expression_weights
from omnisync_core.training.voice import HELD_OUT_VARIANTS, LANGUAGES, random_text, token_times

_SPOKEN = ("cmn", "en-us", "ja", "ko", "fr", "de", "es", "ru")
_LEVELS = (None, 10, 0)
"""Signal over noise in dB; None is clean."""
_SEED = 870_000

Curve = tuple[np.ndarray, np.ndarray]


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
        times, opening = listener.opening(sound.copy())
        curves[path.stem] = mouth, on_clock(times, opening, count)
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


@torch.no_grad()
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
                tokens = listener.encoder.encode(torch.from_numpy(noisy))
                lips = listener.heads.lips(tokens)[:, 0].numpy()
                rig = rig_opening(kit, listener.heads.articulators(tokens).numpy())
                rows[level].append([np.corrcoef(curve, truth)[0, 1] for curve in (lips, rig)])
        found.update({(language, level): np.mean(row, axis=0) for level, row in rows.items()})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("voice", type=Path)
    parser.add_argument("--clips", type=Path, help="default: $OMNISYNC_DATA/clips/dev")
    parser.add_argument("--model", default="mini", help="preset that the encoder is of")
    parser.add_argument("--sentences", type=int, default=6, help="per language")
    arguments = parser.parse_args()
    listener, tell = Listener(arguments.voice, arguments.model), sys.stdout.write
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
