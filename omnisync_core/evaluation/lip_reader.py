"""A ruler for mouths whose true lips nobody knows: the opening, read off any face.

Where a clip's lips are known (rendered clips, landmarks of the user's), `ruler.py` is fitted on
that very face and reads it better. Otherwise this network reads one mouth picture at a time. It
shares no weights and no training with the product or the sync judge, and is never part of a
training loss. training/lip_reader.py trains it; its errors are in docs/benchmark.md.

In: mouth pictures grey uint8 [f, 48, 48] (`judge.mouth_pictures`). Out: opening [f], the inner
lips' distance over the side of the standard crop.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ..errors import UserError
from .judge import SIDE

WEIGHTS = Path(__file__).parents[1] / "weights" / "lip_reader.safetensors"
UNIT = 0.1
"""What the network calls 1: a tenth of the crop's side is a wide-open vowel."""


class LipReader(nn.Module):
    """Grey mouth pictures -> opening in UNITs."""

    def __init__(self) -> None:
        super().__init__()

        def look(a: int, b: int) -> nn.Sequential:
            convolution = nn.Conv2d(a, b, 3, stride=2, padding=1, bias=False)
            return nn.Sequential(convolution, nn.BatchNorm2d(b), nn.ReLU())

        self.net = nn.Sequential(
            *(look(1, 24), look(24, 48), look(48, 64), look(64, 64)),
            nn.Flatten(),
            nn.Linear(64 * (SIDE // 16) ** 2, 64),
            nn.ReLU(),
            nn.Linear(64, 1),
        )

    def forward(self, mouths: Tensor) -> Tensor:
        """Pictures uint8 or float [b, 48, 48] -> [b]."""
        pictures = mouths.float()
        mean = pictures.mean((1, 2), keepdim=True)
        deviation = pictures.std((1, 2), keepdim=True)
        return self.net(((pictures - mean) / (deviation + 1))[:, None])[:, 0]


@lru_cache(maxsize=1)
def load_lip_reader(path: Path = WEIGHTS) -> LipReader:
    """The reader that ships, or another one's weights."""
    reader = LipReader()
    try:
        reader.load_state_dict(load_file(path))
    except (OSError, RuntimeError, SafetensorError):
        raise UserError(
            f"{path} holds no lip reader; train one with "
            "`python -m omnisync_core.training.lip_reader`."
        ) from None
    return reader.eval()


@torch.no_grad()
def read_openings(mouths: np.ndarray) -> np.ndarray:
    """Openings [f], over the crop's side, of mouth pictures uint8 [f, 48, 48]."""
    return UNIT * load_lip_reader()(torch.from_numpy(mouths)).numpy().astype(np.float64)
