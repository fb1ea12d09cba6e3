"""Dark and flat pictures are lifted before the network sees them, and its edit lowered again.

A network taught on well-lit faces changes little where there is little contrast. The change of
exposure is one gain and one shift for a whole window, so it moves nothing and cannot flicker, and
what a well-exposed window looks like is not changed at all.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Contrast (of a range of 2) that a window is lifted to; of whole crops, a quarter of the rendered
# ones that training sees and nearly all of GRID have it.
_ENOUGH = 1.4
_MOST = 4.0  # more gain lifts noise and the steps of 8-bit video
# Rows and columns of a crop that it is taken of: cheeks, lips and chin. A bright wall or a dark
# collar does not make a flat face one with contrast.
_ROWS, _COLUMNS = (0.2, 0.75), (0.2, 0.8)
_SEEN = (0.01, 0.99)  # quantiles that a window's contrast lies between
_STRIDE = 4  # every fourth pixel is enough for quantiles


@dataclass(frozen=True)
class Exposure:
    """gain >= 1 around the grey value mid in [-1, 1]."""

    gain: float
    mid: float

    @classmethod
    def of(cls, source: Tensor) -> Exposure:
        """The exposure that a window [f 3 h w] in [-1, 1] needs; gain 1 where it needs none."""
        height, width = source.shape[-2:]
        rows, columns = _span(_ROWS, height), _span(_COLUMNS, width)
        seen = source[..., rows, columns].float().flatten()
        low, high = torch.quantile(seen, torch.tensor(_SEEN, device=seen.device)).tolist()
        gain = min(max(_ENOUGH / max(high - low, 1e-3), 1.0), _MOST)
        return cls(gain, (low + high) / 2)

    def lift(self, picture: Tensor) -> Tensor:
        """What the network sees of a picture in [-1, 1]; the same range."""
        if self.gain == 1:
            return picture
        # The shift towards the middle grows with the gain: nearly enough contrast, nearly no shift.
        return ((picture - self.mid) * self.gain + self.mid / self.gain).clamp(-1, 1)

    def lower(self, edited: Tensor, lifted: Tensor, source: Tensor) -> Tensor:
        """The edit of a lifted picture as one of its source; where nothing changed, the source."""
        return edited if self.gain == 1 else source + (edited - lifted) / self.gain


def _span(share: tuple[float, float], size: int) -> slice:
    """Every few of the pixels between two shares of a side; at least one."""
    return slice(int(share[0] * size), max(int(share[1] * size), 1), _STRIDE)
