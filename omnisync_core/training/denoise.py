"""The voice encoder learns to hear under noise and from other throats what it hears without.

    python -m omnisync_core.training.denoise WEIGHTS DATA OUT --minutes 45 --speech SPEECH

WEIGHTS: a model; DATA: a folder that prepare.py filled, for its sounds; SPEECH: recordings of real
voices in any language; OUT gets the model with the encoder that learnt, model.safetensors. The
encoder as it is hears clean sounds; a copy hears them under all that noise.py does, and sentences
said by voices that the first one does not know, and learns the same tokens (distillation, Hinton et
al. 2015), so that the editor, which knows the old ones, needs no training. Sounds in which nobody
speaks, noise and music, are to be heard as silence.
"""

from __future__ import annotations

import argparse
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..audio import SAMPLE_RATE, AudioEncoder, log_mel
from ..checkpoint import load_model, notes_of, save_model
from ..errors import UserError
from ..media import read_audio
from .align import pieces
from .locator import fit
from .noise import augment, music
from .sounds import SoundPool, Utterance
from .voice import OTHER_VARIANTS, REAL_SHARE, synthesise_utterance, token_times

# Tokens of a stretch: four seconds, as voice.py hears them.
_STRETCH = 200
_BATCH, _RATE = 8, 2e-4
# So many stretches have nobody who speaks, music in place of another voice, no noise at all.
_NOBODY, _MUSIC, _CLEAN = 0.15, 0.5, 0.3
_PIECES = 200  # of music
# Noise is at most so many dB below the voice: at 10 already nine tenths are heard (docs/LOG.md).
_FAINTEST = 20.0


Pair = tuple[np.ndarray, np.ndarray]
"""Two waveforms [n] that say the same at the same time."""


class Sounds:
    """Stretches of speech, each said by a voice that the teacher knows and heard from another or
    the same one."""

    def __init__(self, pairs: list[Pair], *, seed: int = 0) -> None:
        self.said, self.heard = (
            SoundPool([_unlabelled(one) for one in side]) for side in zip(*pairs, strict=True)
        )
        rng = np.random.default_rng(seed)
        self.music = torch.from_numpy(
            np.stack([music(rng, _STRETCH * SAMPLE_RATE // 50) for _ in range(_PIECES)])
        )

    def draw(self, count: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Waveforms [b, n] as they are said (silence: nobody speaks) and as they are heard."""
        state = rng.get_state()
        said = self.said.draw(count, _STRETCH, rng)["waveform"]
        rng.set_state(state)  # the same stretches
        drawn = self.heard.draw(count, _STRETCH, rng)
        heard, other = drawn["waveform"], drawn["babble"]
        odds = lambda share: torch.rand(count, 1, generator=rng) < share  # noqa: E731
        nobody = odds(_NOBODY)
        said, heard = (torch.where(nobody, 0, one) for one in (said, heard))
        tunes = self.music[torch.randint(_PIECES, (count,), generator=rng)]
        other = torch.where(nobody | odds(_MUSIC), tunes, other)
        other = torch.where(nobody & odds(0.5), 0, other)
        noisy = augment(heard, other, rng, faintest=_FAINTEST)
        return said, torch.where(odds(_CLEAN), heard, noisy)


def _unlabelled(waveform: np.ndarray) -> Utterance:
    count = len(token_times(len(waveform)))
    unknown = np.full((count, 8), np.nan, np.float32)
    return Utterance(waveform, unknown, np.zeros(count, np.int64), unknown[:, :2])


def two_voices(count: int, *, seed: int = 0) -> list[Pair]:
    """About so many sentences, each by a voice that voice.py trains on and by another timbre of
    espeak-ng, which is moved onto the first one's clock. Those that flite says have one voice."""
    pairs = []
    for each in np.random.default_rng(seed).integers(2**31, size=count):
        said, phones = synthesise_utterance(np.random.default_rng(each))
        heard, others = synthesise_utterance(np.random.default_rng(each), variants=OTHER_VARIANTS)
        if [p.symbol for p in phones] == [p.symbol for p in others] and len(said) > SAMPLE_RATE:
            starts, moved = ([p.start for p in marks] for marks in (phones, others))
            ends = len(said) / SAMPLE_RATE, len(heard) / SAMPLE_RATE
            times = np.arange(len(said)) / SAMPLE_RATE
            at = np.interp(times, [*starts, ends[0]], [*moved, ends[1]])
            heard = np.interp(at * SAMPLE_RATE, np.arange(len(heard)), heard)
            pairs.append((said, heard.astype(np.float32)))
    return pairs


def read_sounds(folder: Path) -> list[np.ndarray]:
    """All sounds [n] in [-1, 1] of a prepared folder; UserError where there are none."""
    sounds = []
    for path in sorted(folder.glob("sounds_*.npz")):
        with np.load(path) as file:
            sounds += [file[name].astype(np.float32) / 32767 for name in file.files]
    if not sounds:
        raise UserError(f"Expected sounds_*.npz in {folder}: fill it with omnisync prepare.")
    return sounds


def read_recordings(folder: Path) -> list[np.ndarray]:
    """Pieces [n] in [-1, 1] of all recordings of a folder; UserError where there are none."""
    paths = [path for path in sorted(folder.iterdir()) if path.suffix in (".wav", ".flac")]
    if not paths:
        raise UserError(f"Expected .wav or .flac recordings of voices in {folder}.")
    return [part for path in paths for part in pieces(read_audio(path, rate=SAMPLE_RATE))]


def loss_of(encoder: AudioEncoder, teacher: AudioEncoder, said: Tensor, heard: Tensor) -> Tensor:
    """Mean squared difference of the tokens of what is heard to the teacher's of what is said."""
    with torch.no_grad():
        wanted = teacher(log_mel(said)[:, : 2 * _STRETCH])
    return F.mse_loss(encoder(log_mel(heard)[:, : 2 * _STRETCH]), wanted)


def train(teacher: AudioEncoder, sounds: Sounds, out: Path, *, minutes: float) -> AudioEncoder:
    """A copy of the teacher that learnt for so many minutes of CPU time in all; goes on where it
    stopped, from out."""

    def step(rng: torch.Generator) -> Tensor:
        return loss_of(encoder, teacher, *sounds.draw(_BATCH, rng))

    encoder, state = deepcopy(teacher).requires_grad_(True), out / "denoise.pt"
    form = torch.contiguous_format
    mean = fit(encoder, step, state, minutes=minutes, rate=_RATE, memory_format=form)
    encoder.load_state_dict(mean.state_dict())
    return encoder.eval().requires_grad_(False)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("data", type=Path, nargs="+", help="folders that prepare.py filled")
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=45, help="of CPU time")
    parser.add_argument("--speech", type=Path, help="recordings of real voices (.wav, .flac)")
    parser.add_argument(
        "--sentences", type=int, default=0, help="so many are heard from other voices (espeak-ng)"
    )
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    model = load_model(arguments.weights)
    waveforms = [one for folder in arguments.data for one in read_sounds(folder)]
    if arguments.speech:
        waveforms += REAL_SHARE * read_recordings(arguments.speech)
    pairs = [(one, one) for one in waveforms] + two_voices(arguments.sentences)
    model.encoder = train(model.encoder, Sounds(pairs), arguments.out, minutes=arguments.minutes)
    save_model(model.half(), arguments.out / "model.safetensors", notes=notes_of(arguments.weights))


if __name__ == "__main__":
    main()
