"""Dense flow: known motions of a made-up texture, with OpenCV and without."""

import math

import pytest
import torch
from torch.nn import functional as F

from omnisync_core import optical_flow
from omnisync_core.optical_flow import backward_warp, dense_flow, lucas_kanade

SIZE = 96


@pytest.fixture(params=["dis", "lucas_kanade"])
def estimate(request):
    if request.param == "lucas_kanade":
        return lucas_kanade
    pytest.importorskip("cv2")
    return dense_flow


def texture(height=SIZE, width=SIZE):
    """A frame [3 h w] with structure from two pixels up to a third of the picture."""
    generator, frame = torch.Generator().manual_seed(0), torch.zeros(1, 3, height, width)
    for cell in (2, 4, 8, 16, 32):
        coarse = torch.randn(
            1, 3, max(2, height // cell), max(2, width // cell), generator=generator
        )
        frame += cell**0.5 * F.interpolate(coarse, (height, width), mode="bicubic")
    return (frame / frame.abs().max())[0]


def shift(dx, dy, height=SIZE, width=SIZE):
    return torch.tensor([dx, dy])[:, None, None].expand(2, height, width).clone()


def turn(degrees):
    y, x = torch.meshgrid(*[torch.arange(SIZE) - (SIZE - 1) / 2] * 2, indexing="ij")
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return torch.stack([c * x - s * y - x, s * x + c * y - y])


MOTIONS = {
    "a third of a pixel": shift(0.33, -0.2),
    "two pixels": shift(2.3, -1.1),
    "nine pixels": shift(9.0, 4.5),
    "two degrees": turn(2),
    "five degrees": turn(5),
}


@pytest.mark.parametrize("motion", MOTIONS)
def test_known_motions_are_found_to_a_fraction_of_a_pixel(estimate, motion):
    truth, previous = MOTIONS[motion], texture()
    current = backward_warp(previous[None], truth[None])[0]
    inner = (slice(None), slice(12, -12), slice(12, -12))
    error = (estimate(previous, current) - truth)[inner].norm(dim=0)
    assert float(error.mean()) < 0.1
    assert float(error.quantile(0.95)) < 0.2


def test_the_flow_points_back_to_where_the_pixel_was(estimate):
    previous = texture()
    current = previous.roll(3, dims=2)  # everything moves three pixels to the right
    dx, dy = estimate(previous, current)[:, 30:-30, 30:-30]
    assert float(dx.mean()) == pytest.approx(-3, abs=0.05)
    assert float(dy.mean()) == pytest.approx(0, abs=0.05)


def test_a_still_picture_does_not_move(estimate):
    assert float(estimate(texture(), texture()).abs().max()) < 0.05


@pytest.mark.parametrize("value", [-1.0, 0.0, 1.0])
def test_a_flat_picture_has_a_finite_flow(estimate, value):
    flat = torch.full((3, SIZE, SIZE), value)
    assert float(estimate(flat, flat).abs().max()) < 0.05


@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 40), (17, 33), (130, 64), (300, 520)])
def test_any_size_works(height, width):
    previous = texture(height, width)
    current = backward_warp(previous[None], shift(1.0, 0.0, height, width)[None])[0]
    for flow in (dense_flow(previous, current), lucas_kanade(previous, current)):
        assert flow.shape == (2, height, width) and flow.dtype == torch.float32
        assert bool(torch.isfinite(flow).all())


def test_large_pictures_are_solved_at_half_the_size_and_in_full_pixels():
    truth, previous = shift(6.0, -3.0, 320, 320), texture(320, 320)
    current = backward_warp(previous[None], truth[None])[0]
    error = (lucas_kanade(previous, current) - truth).norm(dim=0)[20:-20, 20:-20]
    assert float(error.mean()) < 0.15


def test_without_opencv_the_fallback_answers(monkeypatch):
    monkeypatch.setattr(optical_flow, "opencv", lambda: None)
    previous, current = texture(), texture().roll(2, dims=1)
    assert torch.equal(dense_flow(previous, current), lucas_kanade(previous, current))


def test_frames_of_two_sizes_are_refused():
    with pytest.raises(ValueError, match="two frames"):
        dense_flow(texture(), texture(32, 32))
