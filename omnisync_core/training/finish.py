"""From trained weights to those that ship: their mean, calm in silence, in half precision.

    python -m omnisync_core.training.finish DATA OUT WEIGHTS [WEIGHTS ...]

DATA: a prepared folder, for its sounds. WEIGHTS: models of one origin that went on with other
settings or seeds (model soups, Wortsman et al. 2022): a student, whose edits are strong and crisp,
and the stage after it, which draws lips in true colours (docs/LOG.md).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..audio import SAMPLE_RATE
from ..checkpoint import load_model, notes_of, save_model
from ..errors import UserError
from ..model import OmniSync

# Relative to the mean square of a channel: keeps the solution small where voices hardly vary.
_RIDGE = 1e-3
_VOICES_PER_FILE = 20


def mean_of(models: Sequence[OmniSync]) -> OmniSync:
    """The model whose weights are the mean of those of one or more models of the same size."""
    if any(model.config != models[0].config for model in models):
        raise UserError("The mean of models needs models of the same size; these differ.")
    mean, states = deepcopy(models[0]), [model.state_dict() for model in models]
    mean.load_state_dict({k: torch.stack([one[k] for one in states]).mean(0) for k in states[0]})
    return mean


@torch.no_grad()
def calm_in_silence(model: OmniSync, voices: Iterable[Tensor]) -> None:
    """Give a sound in which nobody speaks the voiceprint of the mean voice; voices: [n] at 16 kHz.

    Training never meets one, and what the pooling makes of it is like no voice's: the network takes
    it for no audio at all and leaves the old lips moving. One rank is added to the projection, so
    that silence goes to the mean and voices stay where they are (rank-one editing, Meng et al.
    2022, equation 2).
    """
    voiceprint, encoder = model.voiceprint, model.encoder
    pooled = lambda sound: voiceprint.pool(encoder.encode(sound)[None])[0]  # noqa: E731
    known = torch.stack([pooled(sound) for sound in voices])
    silence = pooled(torch.zeros(4 * SAMPLE_RATE))
    spread = known.T @ known / len(known)
    spread += _RIDGE * spread.diagonal().mean() * torch.eye(len(spread))
    key = torch.linalg.solve(spread, silence)
    wanted = voiceprint.project(known).mean(0) - voiceprint.project(silence)
    voiceprint.project.weight += torch.outer(wanted, key / (key @ silence))


def _voices(data: Path) -> Iterable[Tensor]:
    """Some sounds of every sounds_*.npz of a prepared folder."""
    for path in sorted(data.glob("sounds_*.npz")):
        sounds = np.load(path)
        for name in sounds.files[:_VOICES_PER_FILE]:
            yield torch.from_numpy(sounds[name].astype(np.float32) / 32767)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("weights", type=Path, nargs="+")
    arguments = parser.parse_args()
    model = mean_of([load_model(path) for path in arguments.weights])
    calm_in_silence(model, _voices(arguments.data))
    save_model(model.half(), arguments.out, notes=notes_of(arguments.weights[0]))


if __name__ == "__main__":
    main()
