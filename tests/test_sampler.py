"""The sampler against an oracle: for Gaussian data the flow's velocity is known in closed form."""

import math
from itertools import pairwise

import pytest
import torch

from omnisync_core.sampler import GRID, _raise_noise, sample, time_grid

MEAN, DEVIATION = 2.0, 0.5


def oracle(x_t, t):
    """E[eps - x | x_t] for x ~ N(MEAN, DEVIATION^2)."""
    variance = ((1 - t) * DEVIATION) ** 2 + t**2
    centred = x_t - (1 - t) * MEAN
    return -MEAN + (t - (1 - t) * DEVIATION**2) / variance * centred


def exact(x, t):
    """Where the flow carries x from time t to time 0."""
    return MEAN + DEVIATION * (x - (1 - t) * MEAN) / math.hypot((1 - t) * DEVIATION, t)


def seeded(number=0):
    return torch.Generator().manual_seed(number)


def error(solver, steps):
    x = torch.randn(200, generator=seeded(), dtype=torch.float64)
    result = sample(oracle, x, time_grid(steps, 1.0), solver=solver)
    return float((result - exact(x, 1.0)).abs().max())


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("heun", 2)])
def test_the_error_falls_with_the_order_of_the_solver(solver, order):
    coarse, fine = error(solver, 50), error(solver, 200)
    assert math.log(coarse / fine, 4) == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_the_sampler_carries_noise_to_the_data(solver):
    x = torch.randn(20_000, generator=seeded())
    result = sample(oracle, x, time_grid(250, 1.0), solver=solver)
    assert float(result.mean()) == pytest.approx(MEAN, abs=0.02)
    assert float(result.std()) == pytest.approx(DEVIATION, abs=0.02)


@pytest.mark.parametrize("tau", [1.0, 0.92, 0.5, 0.001])
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 50, 333, 920, 999, 1000])
def test_any_number_of_steps_lies_on_the_grid(steps, tau):
    times = time_grid(steps, tau)
    assert len(times) == min(steps, round(tau * GRID)) + 1
    assert times[0] == tau and times[-1] == 0
    assert all(t > t_next for t, t_next in pairwise(times))
    assert all(t * GRID == pytest.approx(round(t * GRID), abs=1e-9) for t in times)


def test_a_thousand_steps_run():
    visited = []
    sample(oracle, torch.zeros(1), time_grid(1000, 1.0), callback=visited.append)
    assert len(visited) == 1000


def test_starting_at_zero_returns_the_source():
    x = torch.randn(5, generator=seeded())
    assert sample(oracle, x, time_grid(50, 0.0)) is x


def test_one_step_gives_the_clean_estimate():
    x = torch.randn(5, generator=seeded())
    result = sample(oracle, x, time_grid(1, 0.92), solver="heun")
    torch.testing.assert_close(result, x - 0.92 * oracle(x, 0.92))


def test_raised_noise_has_the_variance_of_its_new_level():
    clean = torch.full((100_000,), MEAN)
    x = 0.8 * clean + 0.2 * torch.randn(clean.shape, generator=seeded())
    raised = _raise_noise(x, 0.2, 0.7, seeded(1))
    assert float(raised.mean()) == pytest.approx(0.3 * MEAN, abs=0.01)
    assert float(raised.std()) == pytest.approx(0.7, abs=0.01)


@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_churn_keeps_the_marginal_and_forgets_the_start(solver):
    x = torch.randn(20_000, generator=seeded())
    result = sample(oracle, x, time_grid(250, 1.0), solver=solver, churn=4.0, generator=seeded(1))
    assert float(result.mean()) == pytest.approx(MEAN, abs=0.02)
    assert float(result.std()) == pytest.approx(DEVIATION, abs=0.02)
    assert float(torch.corrcoef(torch.stack([x, result]))[0, 1]) < 0.3


def test_without_churn_the_result_is_deterministic_and_with_it_the_seed_decides():
    x, times = torch.randn(50, generator=seeded()), time_grid(10, 0.9)
    assert torch.equal(sample(oracle, x, times), sample(oracle, x, times))
    one, same, other = (sample(oracle, x, times, churn=1.0, generator=seeded(n)) for n in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_the_callback_sees_every_step_and_the_clean_estimate():
    seen = []
    x = torch.randn(5, generator=seeded())
    result = sample(oracle, x, [0.9, 0.6, 0.0], callback=seen.append)
    assert [(step.index, step.total, step.t) for step in seen] == [(0, 2, 0.6), (1, 2, 0.0)]
    torch.testing.assert_close(seen[0].x, x - 0.9 * oracle(x, 0.9))
    torch.testing.assert_close(seen[1].x, result)


def test_a_callback_can_cancel():
    def cancel(step):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample(oracle, torch.zeros(1), [0.9, 0.0], callback=cancel)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: time_grid(0, 0.9),
        lambda: time_grid(1001, 0.9),
        lambda: time_grid(10, 1.1),
        lambda: sample(oracle, torch.zeros(1), [0.5, 0.5]),
        lambda: sample(oracle, torch.zeros(1), [0.5, 0.0], solver="rk4"),  # type: ignore[arg-type]
        lambda: sample(oracle, torch.zeros(1), [0.5, 0.0], churn=0.5),
    ],
)
def test_nonsense_is_refused_at_once(wrong):
    with pytest.raises(ValueError, match="expected"):
        wrong()
