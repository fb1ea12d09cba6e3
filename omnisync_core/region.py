"""Region: where the mouth is, one square per frame (the step before the audio and the flow init).

In: what the user said (`--region`), or boxes found frame by frame. Out: a track, one `Box` or None
per frame, in pixels of the full frame; the left edge of the picture is x = 0, the centre of its
first pixel x = 0.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# The standard crop: the mouth takes about 40 % of its width; nose tip to chin are inside.
SIDE_PER_SPAN = 1.75
DROP_PER_SPAN = 0.06


@dataclass(frozen=True)
class Box:
    """A square, axis-aligned crop in pixels: centre and side. It may stick out of the frame."""

    cx: float
    cy: float
    side: float


Track = list[Box | None]


def standard_box(
    left_eye: Sequence[float] | np.ndarray,
    right_eye: Sequence[float] | np.ndarray,
    mouth: Sequence[float] | np.ndarray,
) -> Box:
    """The one crop that training, locator and compositing share, from three points (x, y) in pixels.

    The eyes are the mean of their corners (or the pupils), the mouth is the mean of its corners and
    of the middles of the inner lips. With e midway between the eyes and m the mouth, the span
    s = max(|left - right|, |e - m|) stays large in profile (where the eyes meet) and when the head
    looks up (where e and m meet). Raises ValueError when all points coincide or are not finite.
    """
    left, right, m = (np.asarray(p, dtype=np.float64) for p in (left_eye, right_eye, mouth))
    e = (left + right) / 2
    drop = float(np.linalg.norm(m - e))
    span = max(float(np.linalg.norm(left - right)), drop)
    if not 0 < span < np.inf:
        raise ValueError(
            f"expected eyes and mouth at different finite points, got eyes {left}, {right} and "
            f"mouth {m}; leave this frame out instead"
        )
    down = (m - e) / drop if drop > 0 else np.zeros(2)
    centre = m + DROP_PER_SPAN * span * down
    return Box(float(centre[0]), float(centre[1]), SIDE_PER_SPAN * span)
