import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from omnisync_core.locator import CROP, WEIGHTS, MouthLocator
from omnisync_core.region import Box
from omnisync_core.training.locator import detector_loss, figures, fit, refiner_loss, train
from omnisync_core.training.locator_people import CUT, GROUND, People
from omnisync_core.training.locator_scenes import Pool

BOXES = torch.tensor([[[0.0, 0, 0], [44, 52, 22]], [[0, 0, 0], [0, 0, 0]]])


class Says(nn.Module):
    def __init__(self, *answer: Tensor) -> None:
        super().__init__()
        self.answer = answer[0] if len(answer) == 1 else answer

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        return self.answer


def _maps(logit: float) -> Tensor:
    """What a detector should say about BOXES, of a given certainty."""
    cells = (torch.arange(12) + 0.5) * 8
    dx, dy = (44 - cells) / 8, (52 - cells) / 8
    maps = torch.zeros((2, 4, 12, 12))
    maps[:, 1], maps[:, 2] = dx[None, None, :], dy[None, :, None]
    near = torch.hypot(dx[None, :], dy[:, None]) < 0.75
    maps[0, 0] = torch.where(near, logit, -logit)
    maps[1, 0] = -logit
    return maps


def test_a_detector_that_is_right_has_no_loss() -> None:
    batch = (torch.zeros(2, 3, 96, 96), BOXES)
    assert detector_loss(Says(_maps(9.0)), batch) < 0.01  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("channel", [0, 1, 2, 3])
def test_a_detector_that_is_wrong_in_anything_has_loss(channel: int) -> None:
    maps = _maps(9.0)
    maps[:, channel] = 5 - maps[:, channel]
    batch = (torch.zeros(2, 3, 96, 96), BOXES)
    assert detector_loss(Says(maps), batch) > 0.3  # pyright: ignore[reportArgumentType]


def test_points_of_the_absent_do_not_matter_to_the_refiner() -> None:
    points = torch.tensor([[[-0.2, -0.4], [0.2, -0.4], [0.0, 0.1]]] * 2)
    guess = points.clone()
    guess[1] += 0.5
    network = Says(guess, torch.tensor([9.0, -9.0]))
    batch = (torch.zeros(2, 3, CROP, CROP), points, torch.tensor([1.0, 0.0]))
    assert refiner_loss(network, batch) < 0.001  # pyright: ignore[reportArgumentType]


def test_training_goes_on_where_it_stopped(tmp_path: Path) -> None:
    def run(minutes: float) -> None:
        line = nn.Sequential(nn.Linear(1, 1))
        x = torch.ones(4, 1)
        fit(line, lambda rng: line(x).square().mean(), tmp_path / "line.pt", minutes=minutes)

    run(0.002)
    run(0.004)
    steps = [json.loads(row)["step"] for row in (tmp_path / "line.jsonl").open()]
    assert steps == list(range(100, 100 * len(steps) + 1, 100))


def test_training_writes_weights_that_load_and_goes_on_from_others(tmp_path: Path) -> None:
    (tmp_path / "further").mkdir()
    rng = np.random.default_rng(0)
    points = np.array([[[62.0, 55], [82, 55], [72, 71]]], np.float32)
    people = People(rng.integers(0, 255, (1, CUT, CUT, 4), np.uint8), points)
    pool = Pool(people, people, np.zeros((1, GROUND, GROUND, 3), np.uint8))
    locator = train(pool, tmp_path, minutes=0.0)
    again = MouthLocator.load(tmp_path / "locator.safetensors")
    x = torch.rand(1, 3, CROP, CROP)
    torch.testing.assert_close(locator.refiner(x), again.refiner(x))
    shipped = MouthLocator.load()
    further = train(pool, tmp_path / "further", minutes=0.0, start=WEIGHTS)
    torch.testing.assert_close(further.refiner(x), shipped.refiner(x))
    assert (further.detector(x) - shipped.detector(x)).abs().max() < 1e-4


def test_figures_count_far_boxes_as_missed() -> None:
    truth = [Box(50, 50, 20)] * 4
    found = [Box(52, 50, 20), Box(50, 50, 22), Box(70, 50, 20), None]
    result = figures(list(found), truth)
    assert result["missed"] == 0.5
    assert result["centre"] == pytest.approx(0.05)
    assert result["side"] == pytest.approx(np.log(1.1) / 2)
