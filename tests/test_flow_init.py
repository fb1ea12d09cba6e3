"""Flow init: noise that moves with the picture and is white Gaussian noise in every frame."""

import os
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from benchmarks.noise_warp import Report, carried, measure, report_clip, smooth_flows
from omnisync_core.flow_init import NoiseStream, is_cut, start_point, warp_noise
from omnisync_core.optical_flow import backward_warp

SIZE = 64


def seeded(number=0):
    return torch.Generator().manual_seed(number)


def gaussian(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed))


def picture(seed=0, size=SIZE):
    """A made-up scene [3 h w] in [-1, 1]."""
    frame = torch.zeros(1, 3, size, size)
    for cell in (4, 8, 16, 32):
        coarse = gaussian(1, 3, size // cell, size // cell, seed=seed + cell)
        frame += cell**0.5 * F.interpolate(coarse, (size, size), mode="bicubic")
    return (frame / frame.abs().max())[0]


def moved(frame, dx, dy=0.0):
    flow = torch.tensor([-dx, -dy])[None, :, None, None].expand(1, 2, *frame.shape[1:])
    return backward_warp(frame[None], flow)[0]


def film(count, seed=0):
    """A scene that drifts by a fraction of a pixel per frame."""
    return [moved(picture(seed), 0.7 * i, 0.3 * i) for i in range(count)]


def correlation(a, b):
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])


# --- warp_noise -----------------------------------------------------------------------------------


def test_without_motion_the_noise_stays():
    noise = gaussian(3, 20, 20)
    torch.testing.assert_close(warp_noise(noise, torch.zeros(2, 20, 20), seeded(1)), noise)


def test_whole_pixels_move_and_what_comes_in_is_fresh():
    noise, flow = gaussian(3, 20, 20), torch.zeros(2, 20, 20)
    flow[0] = 2  # each pixel reads two to its right
    warped = warp_noise(noise, flow, seeded(1))
    torch.testing.assert_close(warped[:, :, :-2], noise[:, :, 2:])
    assert float(warped[:, :, -2:].std()) == pytest.approx(1, abs=0.2)
    assert abs(correlation(warped[:, :, -2:], noise[:, :, -2:])) < 0.3


@pytest.mark.parametrize(
    "flow",
    [
        torch.full((2, 6, 6), 0.4),
        torch.stack(torch.meshgrid(*[torch.linspace(-2, 2, 6)] * 2, indexing="xy")),
        torch.stack(torch.meshgrid(*[torch.linspace(1.4, -1.4, 6)] * 2, indexing="xy")),
        3 * gaussian(2, 6, 6, seed=9),
    ],
    ids=["shift", "shrink", "grow", "chaos"],
)
def test_warped_noise_is_white_whatever_the_flow(flow):
    # 20,000 channels are as many draws: all 36 x 36 covariances are known to 0.007.
    warped = warp_noise(gaussian(20_000, 6, 6), flow, seeded(1)).flatten(1)
    covariance = warped.T @ warped / len(warped)
    torch.testing.assert_close(covariance, torch.eye(36), atol=0.05, rtol=0)
    kurtosis = (warped**4).mean(0) / warped.var(0) ** 2
    torch.testing.assert_close(kurtosis, torch.full((36,), 3.0), atol=0.3, rtol=0)


def assert_white(report: Report) -> None:
    """Bounds of four deviations for 3 x 96 x 96 values and 48 frames."""
    assert report.mean < 0.03, report
    assert abs(report.variance - 1) < 0.04, report
    assert abs(report.kurtosis - 3) < 0.15, report
    assert report.neighbours < 0.03, report


@pytest.mark.parametrize(("detail", "along", "along_four"), [(1, 0.6, 0.25), (2, 0.6, 0.42)])
def test_48_frames_of_smooth_flow_leave_the_noise_white_and_coherent(detail, along, along_four):
    flows = smooth_flows(47, 96)
    report = measure(carried(flows, detail=detail), flows)
    assert_white(report)
    assert report.along > along and report.along_four > along_four, report


def test_interpolated_noise_would_fail_these_bounds():
    flows, noises = smooth_flows(8, 96), [gaussian(3, 96, 96)]
    for flow in flows:
        noises.append(backward_warp(noises[-1][None], flow[None])[0])
    with pytest.raises(AssertionError):
        assert_white(measure(noises, flows))


def test_48_frames_of_a_real_clip_leave_the_noise_white():
    folder = os.environ.get("OMNISYNC_DATA")
    if folder is None:
        pytest.skip("OMNISYNC_DATA (the folder with clips/) is not set")
    clip = sorted((Path(folder) / "clips" / "dev").glob("*.mp4"))[0]
    report = report_clip(str(clip), detail=2)
    assert_white(report)
    assert report.along > 0.4, report


# --- cuts -----------------------------------------------------------------------------------------


def waving_head(x):
    """A textured head at x on another texture."""
    y, columns = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    head = ((columns - x) / 14.0) ** 2 + ((y - 34) / 18.0) ** 2 < 1
    return torch.where(head, moved(picture(3) * 0.6 + 0.3, x - 32.0), picture(0) * 0.7)


@pytest.mark.parametrize("seed", range(1, 9))
def test_another_scene_is_a_cut(seed):
    assert is_cut(picture(0), picture(100 * seed))


@pytest.mark.parametrize("step", [1, 3, 6])
def test_a_waving_head_is_no_cut(step):
    assert not any(is_cut(waving_head(x), waving_head(x + step)) for x in range(20, 40, step))


def test_a_pan_and_a_zoom_are_no_cuts():
    frame = picture()
    closer = F.interpolate(frame[None, :, 2:-2, 2:-2], (SIZE, SIZE), mode="bilinear")[0]
    assert not is_cut(frame, moved(frame, 3.0, 2.0))
    assert not is_cut(frame, closer)


@pytest.mark.parametrize(
    "change", [lambda x: x * 0.5 + 0.5, lambda x: x * 0.3 - 0.6, lambda x: x + 0.3]
)
def test_a_flash_that_leaves_structure_is_no_cut(change):
    frame = picture()
    assert not is_cut(frame, change(frame).clamp(-1, 1))
    assert not is_cut(change(frame).clamp(-1, 1), frame)


def test_a_white_out_is_one_cut_where_the_picture_returns():
    frame, white = picture(), torch.ones(3, SIZE, SIZE)
    assert not is_cut(frame, white) and not is_cut(white, white)
    assert is_cut(white, frame)


def test_a_dark_and_grainy_still_is_no_cut():
    one, other = (0.05 * picture() - 0.9 + 0.05 * gaussian(3, SIZE, SIZE, seed=s) for s in (1, 2))
    assert not is_cut(one, other)


# --- NoiseStream and start_point ------------------------------------------------------------------


def test_the_noise_follows_the_picture_and_is_fresh_at_a_cut():
    frames = [*film(3), *film(2, seed=500)]
    stream = NoiseStream(0, (3, SIZE, SIZE))
    noises = [stream.next(frame) for frame in frames]
    links = [correlation(moved(a, 0.7, 0.3), b) for a, b in pairwise(noises)]
    assert min(links[0], links[1], links[3]) > 0.5
    assert abs(links[2]) < 0.03


def test_a_still_picture_keeps_its_noise_outside_the_mouth_and_has_fresh_noise_inside():
    mask = torch.zeros(1, SIZE, SIZE)
    mask[:, 30:50, 20:44] = 1
    stream = NoiseStream(0, (3, SIZE, SIZE))
    first, second = (stream.next(picture(), mask) for _ in range(2))
    assert correlation(first[:, :28], second[:, :28]) > 0.9
    assert abs(correlation(first[:, 30:50, 20:44], second[:, 30:50, 20:44])) < 0.08


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 1.0])
def test_the_soft_blend_keeps_the_variance_and_shares_it_as_the_mask_says(share):
    stream, mask = NoiseStream(0, (3, SIZE, SIZE)), torch.full((1, SIZE, SIZE), share)
    first, second = (stream.next(picture(), mask) for _ in range(2))
    assert float(second.var()) == pytest.approx(1, abs=0.05)
    assert correlation(first, second) == pytest.approx(1 - share, abs=0.06)


def test_the_noise_depends_on_seed_and_frame_and_not_on_the_chunks():
    frames, mask = film(6), torch.full((1, SIZE, SIZE), 0.4)
    whole = NoiseStream(7, (3, SIZE, SIZE))
    expected = [whole.next(frame, mask) for frame in frames]
    part = NoiseStream(7, (3, SIZE, SIZE))
    got = [part.next(frame, mask) for frame in frames[:4]]
    resumed = NoiseStream(7, (3, SIZE, SIZE))
    resumed.restore(part.state())
    got += [resumed.next(frame, mask) for frame in frames[4:]]
    assert all(torch.equal(a, b) for a, b in zip(expected, got, strict=True))
    assert not torch.equal(expected[0], NoiseStream(8, (3, SIZE, SIZE)).next(frames[0], mask))


def test_a_skipped_frame_counts_and_ends_the_coherence():
    frames = film(2)
    stream = NoiseStream(0, (3, SIZE, SIZE))
    before = stream.next(frames[0])
    stream.skip()
    after = stream.next(frames[1])
    assert stream.state().index == 3
    assert abs(correlation(before, after)) < 0.03


def test_the_start_point_lies_between_source_and_noise():
    frames, noise = gaussian(1, 2, 3, 8, 8), gaussian(1, 2, 3, 8, 8, seed=1)
    assert torch.equal(start_point(frames, noise, 0), frames)
    assert torch.equal(start_point(frames, noise, 1), noise)
    torch.testing.assert_close(start_point(frames, noise, 0.92), 0.08 * frames + 0.92 * noise)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: start_point(torch.zeros(2), torch.zeros(2), 1.5),
        lambda: start_point(torch.zeros(2), torch.zeros(3), 0.5),
        lambda: NoiseStream(-1, (3, 8, 8)),
        lambda: NoiseStream(0, (3, 8, 8)).next(torch.zeros(3, 8, 9)),
    ],
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        wrong()
