"""Dark windows are lifted for the network and lowered again."""

import pytest
import torch

from omnisync_core.exposure import Exposure


@pytest.fixture
def window() -> torch.Tensor:
    """Four frames with the full contrast."""
    return torch.rand(4, 3, 48, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_a_well_exposed_window_is_seen_as_it_is(window: torch.Tensor) -> None:
    exposure = Exposure.of(window)
    assert exposure.gain == 1
    assert exposure.lift(window) is window
    assert exposure.lower(-window, window, window).equal(-window)


def test_what_lies_around_the_face_does_not_count(window: torch.Tensor) -> None:
    dark = window * 0.2 - 0.6
    wall = dark.clone()
    wall[..., :6], wall[..., -6:] = 1, -1
    assert Exposure.of(wall) == Exposure.of(dark)
    assert Exposure.of(dark).gain > 2


@pytest.mark.parametrize(("contrast", "mid"), [(0.3, -0.7), (0.1, -0.9), (0.2, 0.75)])
def test_a_dark_or_flat_window_gets_contrast_within_range(
    window: torch.Tensor, contrast: float, mid: float
) -> None:
    dark = window * contrast + mid
    lifted = Exposure.of(dark).lift(dark)
    assert lifted.std() > 1.9 * dark.std()
    assert -1 <= lifted.min() and lifted.max() <= 1
    assert lifted.mean().abs() < abs(mid)


def test_an_edit_comes_down_by_the_gain_and_the_rest_is_the_source(window: torch.Tensor) -> None:
    dark = window * 0.2 - 0.7
    exposure = Exposure.of(dark)
    lifted = exposure.lift(dark)
    edited = lifted.clone()
    edited[..., 30:, :] += 0.2
    back = exposure.lower(edited, lifted, dark)
    assert back[..., :30, :].equal(dark[..., :30, :])
    torch.testing.assert_close((back - dark)[..., 30:, :].mean(), torch.tensor(0.2 / exposure.gain))


def test_exposure_does_not_jump_where_lifting_begins() -> None:
    ramp = torch.linspace(-1, 1, 3 * 64 * 64).reshape(1, 3, 64, 64)
    just, under = (
        Exposure.of(ramp * scale - 0.2).lift(ramp * scale - 0.2) for scale in (0.72, 0.71)
    )
    assert (just - under).abs().max() < 0.03


def test_a_single_grey_is_not_divided_by_nothing() -> None:
    grey = torch.full((2, 3, 16, 16), -0.5)
    assert Exposure.of(grey).lift(grey).isfinite().all()
