"""The voice encoder learns to hear under noise what it hears without it, and nothing new.

    python -m omnisync_core.training.denoise WEIGHTS DATA OUT --minutes 45 --speech SPEECH

WEIGHTS: a model; DATA: a folder that prepare.py filled, for its sounds; SPEECH: recordings of real
voices in any language; OUT gets the model with the encoder that learnt, model.safetensors. The
encoder as it is hears clean sounds; a copy hears them under all that noise.py does and learns the
same tokens (distillation, Hinton et al. 2015), so that the editor, which knows the old ones, needs
no training. Sounds in which nobody speaks, noise and music, are to be heard as silence.
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
from .voice import REAL_SHARE, token_times

# Tokens of a stretch: four seconds, as voice.py hears them.
_STRETCH = 200
_BATCH, _RATE = 8, 2e-4
# So many stretches have nobody who speaks, music in place of another voice, no noise at all.
_NOBODY, _MUSIC, _CLEAN = 0.15, 0.5, 0.3
_PIECES = 200  # of music
# Noise is at most so many dB below the voice: at 10 already nine tenths are heard (docs/LOG.md).
_FAINTEST = 20.0


class Sounds:
    """Stretches of speech, and what is heard of them."""

    def __init__(self, waveforms: list[np.ndarray], *, seed: int = 0) -> None:
        self.pool = SoundPool([_unlabelled(one) for one in waveforms])
        rng = np.random.default_rng(seed)
        self.music = torch.from_numpy(
            np.stack([music(rng, _STRETCH * SAMPLE_RATE // 50) for _ in range(_PIECES)])
        )

    def draw(self, count: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Waveforms [b, n] as they are said (silence: nobody speaks) and as they are heard."""
        drawn = self.pool.draw(count, _STRETCH, rng)
        said, other = drawn["waveform"], drawn["babble"]
        odds = lambda share: torch.rand(count, 1, generator=rng) < share  # noqa: E731
        nobody = odds(_NOBODY)
        said = torch.where(nobody, 0, said)
        tunes = self.music[torch.randint(_PIECES, (count,), generator=rng)]
        other = torch.where(nobody | odds(_MUSIC), tunes, other)
        other = torch.where(nobody & odds(0.5), 0, other)
        heard = augment(said, other, rng, faintest=_FAINTEST)
        return said, torch.where(odds(_CLEAN), said, heard)


def _unlabelled(waveform: np.ndarray) -> Utterance:
    count = len(token_times(len(waveform)))
    unknown = np.full((count, 8), np.nan, np.float32)
    return Utterance(waveform, unknown, np.zeros(count, np.int64), unknown[:, :2])


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
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    model = load_model(arguments.weights)
    waveforms = [one for folder in arguments.data for one in read_sounds(folder)]
    if arguments.speech:
        waveforms += REAL_SHARE * read_recordings(arguments.speech)
    model.encoder = train(
        model.encoder, Sounds(waveforms), arguments.out, minutes=arguments.minutes
    )
    save_model(model.half(), arguments.out / "model.safetensors", notes=notes_of(arguments.weights))


if __name__ == "__main__":
    main()
