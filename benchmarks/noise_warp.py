"""Does noise stay white and Gaussian when it is carried along optical flow, and how coherent is it?

    python benchmarks/noise_warp.py [CLIP ...]

For smooth synthetic flow and for the real flow of each clip, over 48 frames: the worst mean,
variance, kurtosis and neighbour correlation of any frame, the correlation along the flow over one
frame and over four, and the time. White and Gaussian are 0, 1, 3 and 0.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor
from torch.nn import functional as F

from omnisync_core.composite import take_crop
from omnisync_core.flow_init import NoiseStream, warp_noise
from omnisync_core.media import read_frames
from omnisync_core.optical_flow import backward_warp, dense_flow
from omnisync_core.region import Box

FRAMES = 48
SIZE = 96
LAG = 4


@dataclass(frozen=True)
class Report:
    """The worst frame of a sequence of noise, and its coherence along the flow."""

    mean: float
    variance: float
    kurtosis: float
    neighbours: float
    along: float
    along_four: float


def measure(noises: list[Tensor], flows: list[Tensor]) -> Report:
    """Statistics of noises [c h w]; flows[i] [2 h w] leads from frame i + 1 back to frame i."""
    z = torch.stack(noises)
    mean, variance = z.mean((1, 2, 3)), z.var((1, 2, 3))
    kurtosis = ((z - mean[:, None, None, None]) ** 4).mean((1, 2, 3)) / variance**2
    across = (z[..., :, 1:] * z[..., :, :-1]).mean((1, 2, 3))
    down = (z[..., 1:, :] * z[..., :-1, :]).mean((1, 2, 3))
    return Report(
        mean=float(mean.abs().max()),
        variance=float(variance[(variance - 1).abs().argmax()]),
        kurtosis=float(kurtosis[(kurtosis - 3).abs().argmax()]),
        neighbours=float(torch.stack([across.abs(), down.abs()]).max()),
        along=_along(noises, flows, 1),
        along_four=_along(noises, flows, LAG),
    )


def _along(noises: list[Tensor], flows: list[Tensor], lag: int) -> float:
    """Mean correlation of each noise with the one `lag` frames before, read along the flow."""
    values = []
    for i in range(len(flows) - lag + 1):
        path = torch.zeros_like(flows[0])
        for flow in reversed(flows[i : i + lag]):
            path = path + backward_warp(flow[None], path[None])[0]
        old = backward_warp(noises[i][None], path[None])[0]
        inner = (slice(None), slice(8, -8), slice(8, -8))  # what came in over the edge has no past
        pair = torch.stack([old[inner].flatten(), noises[i + lag][inner].flatten()])
        values.append(float(torch.corrcoef(pair)[0, 1]))
    return sum(values) / len(values)


def smooth_flows(count: int, size: int, *, seed: int = 0) -> list[Tensor]:
    """Sub-pixel flows [2 h w] of about 1.2 pixels, smooth in space, steady for eight frames."""
    generator = torch.Generator().manual_seed(seed)
    knots = [1.2 * torch.randn(1, 2, 4, 4, generator=generator) for _ in range(count // 8 + 1)]
    return [F.interpolate(knots[i // 8], (size, size), mode="bicubic")[0] for i in range(count)]


def carried(flows: list[Tensor], *, detail: int, seed: int = 0) -> list[Tensor]:
    """Noise [3 h w] carried along given flows on a grid `detail` times finer."""
    generator = torch.Generator().manual_seed(seed)
    height, width = flows[0].shape[1:]
    noise = torch.randn(3, detail * height, detail * width, generator=generator)
    noises = [detail * F.avg_pool2d(noise, detail)]
    for flow in flows:
        fine = F.interpolate(flow[None], scale_factor=detail, mode="bilinear")[0] * detail
        noise = warp_noise(noise, fine, generator)
        noises.append(detail * F.avg_pool2d(noise, detail))
    return noises


def clip_frames(path: str, *, frames: int = FRAMES, size: int = SIZE) -> Iterator[Tensor]:
    """The middle of a clip's first frames as crops [3 h w] in [-1, 1]."""
    for frame in islice(read_frames(path), frames):
        height, width = frame.shape[:2]
        yield take_crop(frame, Box(width / 2, height / 2, min(height, width)), size)


def report_clip(path: str, *, detail: int) -> Report:
    """What the NoiseStream makes of a real clip."""
    stream, previous = NoiseStream(0, (3, SIZE, SIZE), detail=detail), None
    noises, flows = [], []
    for frame in clip_frames(path):
        noises.append(stream.next(frame))
        if previous is not None:
            flows.append(dense_flow(previous, frame))
        previous = frame
    return measure(noises, flows)


def main() -> None:
    write = sys.stdout.write
    write("mean   variance  kurtosis  neighbours  along(1)  along(4)  ms/frame  detail  what\n")
    for path in (None, *sys.argv[1:]):
        for detail in (1, 2, 4):
            start = time.perf_counter()
            if path is None:
                flows = smooth_flows(FRAMES - 1, SIZE)
                report = measure(carried(flows, detail=detail), flows)
            else:
                report = report_clip(path, detail=detail)
            spent = 1000 * (time.perf_counter() - start) / FRAMES
            write(
                f"{report.mean:.3f}  {report.variance:.3f}     {report.kurtosis:.2f}      "
                f"{report.neighbours:.3f}       {report.along:.2f}      {report.along_four:.2f}    "
                f"{spent:7.1f}   {detail}       {path or 'smooth synthetic flow'}\n"
            )


if __name__ == "__main__":
    main()
