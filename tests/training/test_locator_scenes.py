import numpy as np
import pytest
import torch
from einops import rearrange

from omnisync_core.region import standard_box
from omnisync_core.training import locator_scenes as scenes
from omnisync_core.training.locator_people import CUT, GROUND, People

POINTS = torch.tensor([[62.0, 55.0], [82, 55], [72, 71]])


@pytest.fixture
def pool() -> scenes.Pool:
    """Two people who are three dots: red and green eyes, a blue mouth."""
    y, x = np.indices((CUT, CUT)) + 0.5
    dots = [np.exp(-((x - px) ** 2 + (y - py) ** 2) / 8) for px, py in POINTS.numpy()]
    picture = (np.stack([*dots, np.ones_like(x)], -1) * 255).astype(np.uint8)
    people = People(np.stack([picture] * 2), np.stack([POINTS.numpy()] * 2))
    return scenes.Pool(people, people, np.full((2, GROUND, GROUND, 3), 9, np.uint8))


def test_placed_points_stay_on_what_they_mark(pool: scenes.Pool) -> None:
    rng = torch.Generator().manual_seed(0)
    cutouts, points = scenes.draw(pool, 40, rng)
    layer, moved = scenes.place(
        cutouts,
        points,
        size=64,
        centre=torch.full((40, 2), 32.0) + torch.randn((40, 2), generator=rng),
        side=torch.linspace(20, 36, 40),
        rng=rng,
    )
    dots = layer[:, :3] ** 2  # the squares lie closer to the dots' middles
    line = torch.arange(64) + 0.5
    mass = dots.sum((2, 3))
    found = torch.stack([(dots.sum(2) * line).sum(2), (dots.sum(3) * line).sum(2)], -1)
    found = found / mass[..., None]
    mirrored = (found[:, 0] - moved[:, 1]).norm(dim=1) < (found[:, 0] - moved[:, 0]).norm(dim=1)
    found[mirrored, :2] = found[mirrored, :2].flip(1)
    assert 5 < mirrored.sum() < 35
    assert (found - moved).norm(dim=-1).max() < 0.8


def test_boxes_of_points_are_standard_boxes() -> None:
    box = standard_box(*POINTS.double().numpy())
    expected = torch.tensor([[box.cx, box.cy, box.side]])
    torch.testing.assert_close(scenes.boxes_of(POINTS[None]), expected, check_dtype=False)


def test_refiner_crops_are_in_range_with_present_and_absent(pool: scenes.Pool) -> None:
    x, points, present = scenes.refiner_batch(pool, 64, torch.Generator().manual_seed(0))
    assert x.shape == (64, 3, 64, 64)
    assert x.abs().max() <= 1
    assert 30 < present.sum() < 60
    assert points[present > 0, 2].abs().max() < 1  # a present mouth is inside the crop


def test_detector_scenes_ask_for_sizes_of_their_octave(pool: scenes.Pool) -> None:
    x, boxes = scenes.detector_batch(pool, 64, torch.Generator().manual_seed(0))
    side = boxes[:, :, 2]
    assert x.shape == (64, 3, scenes.SCENE, scenes.SCENE)
    assert x.abs().max() <= 1
    assert 40 < (side > 0).any(1).sum() < 64
    low, high = scenes.SIDES
    assert ((side > 0.8 * low) & (side < 1.2 * high)).sum() > 0.8 * (side > 0).sum()


def test_batches_repeat_by_seed(pool: scenes.Pool) -> None:
    one, two = (scenes.detector_batch(pool, 8, torch.Generator().manual_seed(5)) for _ in "ab")
    torch.testing.assert_close(one, two, rtol=0, atol=0)


def test_distortion_keeps_pictures_recognisable(pool: scenes.Pool) -> None:
    rng = torch.Generator().manual_seed(0)
    photo = rearrange(torch.rand((6, 6, 3), generator=rng), "h w c -> 1 c h w")
    x = torch.nn.functional.interpolate(photo, (64, 64), mode="bicubic").clamp(0, 1)
    y = scenes.distort(x.expand(64, -1, -1, -1).clone(), rng)
    grey = torch.stack([x.mean(1).flatten(), *y.mean(1).flatten(1)])
    assert torch.corrcoef(grey)[0, 1:].median() > 0.8
