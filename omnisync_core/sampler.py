"""Sampling: from the start point at tau down to the clean frames at 0.

In: a velocity function, x at the first of the times, the times. Out: x at the last, same shape.
Flow time t runs from 1 (noise) to 0 (clean): x_t = (1 - t) x + t eps, v = dx/dt = eps - x. The
paper starts at tau = 0.92 and takes 50 steps (arXiv 2505.21448, equations 5 and 6).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from .config import Solver
from .guidance import Velocity

# The grid of flow times; "step 850 of 1000" is t = 0.85.
GRID = 1000


@dataclass(frozen=True)
class Step:
    """What a callback learns after each step."""

    index: int
    """Steps done before this one, from 0."""
    total: int
    """Steps in all."""
    t: float
    """Flow time reached."""
    x: Tensor
    """The clean frames as the step saw them, for a preview: x_t - t v."""


def time_grid(steps: int, tau: float) -> list[float]:
    """Flow times from tau down to 0 in equal steps: steps + 1 points of the 1000-point grid.

    Strictly decreasing. The grid has no more than 1000 tau steps; who asks for more gets those.
    tau = 0 gives [0.0]: no step, the source is returned.
    Raises ValueError for steps outside 1..1000 or tau outside [0, 1].
    """
    if not 1 <= steps <= GRID:
        raise ValueError(f"expected 1 to {GRID} steps, got {steps}")
    if not 0 <= tau <= 1:
        raise ValueError(f"expected a start time tau between 0 and 1, got {tau}")
    start = round(tau * GRID)
    if start == 0:
        return [0.0]
    steps = min(steps, start)
    # Integers throughout, rounding half up: steps of at least 1 never fall onto the same point.
    return [(2 * start * k + steps) // (2 * steps) / GRID for k in range(steps, -1, -1)]


def sample(
    velocity: Velocity,
    x: Tensor,
    times: Sequence[float],
    *,
    solver: Solver = "euler",
    churn: float = 0.0,
    generator: torch.Generator | None = None,
    callback: Callable[[Step], None] | None = None,
) -> Tensor:
    """Carry x [b f c h w] from times[0] to times[-1] along the velocity.

    solver: "euler" evaluates once per step, "heun" twice, but for the step that ends at 0.
    churn: noise injection by phase, the third stage of the enhancement. A step overshoots its
    target by the share churn * t and fresh noise brings it back: a lot near noise, where timing is
    settled, nothing at the end; 0 is deterministic. The noise comes from the generator (a CPU one).
    callback: called after each step; whatever it raises ends the run.
    Raises ValueError for times that do not decrease, an unknown solver, or churn without generator.
    """
    if solver not in ("euler", "heun"):
        raise ValueError(f"expected the solver 'euler' or 'heun', got {solver!r}")
    if churn < 0 or (churn > 0 and generator is None):
        raise ValueError(f"expected churn >= 0, and a generator if it is not 0; got {churn}")
    if any(t <= t_next for t, t_next in pairwise(times)):
        raise ValueError("expected flow times that decrease strictly; take them from time_grid")
    for index, (t, t_next) in enumerate(pairwise(times)):
        t_low = max(0.0, t_next - churn * t_next * (t - t_next))
        v = velocity(x, t)
        clean = x - t * v
        if solver == "heun" and t_low > 0:
            v = (v + velocity(x + (t_low - t) * v, t_low)) / 2
        x = x + (t_low - t) * v
        if t_low < t_next:
            x = _raise_noise(x, t_low, t_next, generator)
        if callback is not None:
            callback(Step(index, len(times) - 1, t_next, clean))
    return x


def _raise_noise(x: Tensor, t: float, t_up: float, generator: torch.Generator | None) -> Tensor:
    """From the noise level t to a higher one, so that the marginal is that of t_up.

    (1 - t) X + t eps times a = (1 - t_up) / (1 - t) has the right share of X; the missing variance
    of the noise is t_up^2 - (a t)^2.
    """
    a = (1 - t_up) / (1 - t)
    fresh = torch.randn(x.shape, generator=generator, dtype=torch.float32)
    return a * x + math.sqrt(t_up**2 - (a * t) ** 2) * fresh.to(x)
