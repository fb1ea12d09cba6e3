"""Flow init: frames -> noise that moves with the picture -> where the sampler starts.

In: frames f32 [3 h w] in [-1, 1], one after the other, and where the mouth is. Out: noise [c h w],
unit Gaussian and white in every frame, coherent along the optical flow from frame to frame; then
x_init = (1 - tau) V + tau eps (arXiv 2505.21448, equation 5).

Interpolating noise along the flow would blur it. Here each pixel's noise is partitioned among the
pixels that ask for a share of its area (the particle form of Deng et al., "Infinite-resolution
integral noise warping", ICLR 2025), which keeps every frame exactly white. In the mouth the noise
is fresh, for the flow there follows the old speech. FlowNet3D of the method's description is an
estimator of the flow; it comes as a drop-in for `optical_flow.dense_flow`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange, reduce
from torch import Tensor
from torch.nn import functional as F

from .optical_flow import Estimator, dense_flow

# Noise is carried on a grid this much finer than the picture, per side. Coherence over one frame is
# the same at any value (about 0.66), over four it is 0.30, 0.49 and 0.59 at 1, 2 and 4 and the time
# grows with the square (benchmarks/noise_warp.py).
DETAIL = 2

# The thumbnail in which cuts are sought, the blocks of it, and how far a block may have moved: 6 %
# of the picture in one frame is a fast head.
_THUMBNAIL, _BLOCK, _REACH = 32, 8, 2
# Measured on 14 films and 15 studio clips: of 450 pairs of neighbouring frames none left more than
# 0.12 of their structure unexplained (three frames apart 0.16), of 200 pairs from different films
# none less than 0.27.
_SURELY_CUT, _PERHAPS_CUT = 0.2, 0.1
# Distance of the colour histograms that settles a doubtful one: neighbours had at most 0.02.
_OTHER_COLOURS = 0.25
# Variance in a block of the thumbnail that may be sensor noise: two grey levels of 255, squared. It
# keeps a dark, grainy film from being one cut after the other.
_GRAIN = 2e-4


def start_point(frames: Tensor, noise: Tensor, tau: float) -> Tensor:
    """x_init = (1 - tau) V + tau eps for frames and noise of one shape; tau = 0 is the source.

    Raises ValueError for tau outside [0, 1] or shapes that differ.
    """
    if not 0 <= tau <= 1:
        raise ValueError(f"expected a start time tau between 0 and 1, got {tau}")
    if frames.shape != noise.shape:
        raise ValueError(
            f"expected noise of the frames' shape {tuple(frames.shape)}, got {tuple(noise.shape)}"
        )
    return (1 - tau) * frames + tau * noise


def warp_noise(noise: Tensor, flow: Tensor, generator: torch.Generator) -> Tensor:
    """Move white unit Gaussian noise [c h w] along a backward flow [2 h w]; the result is as white.

    A target pixel reads at p + flow(p): its four bilinear weights are areas requested from four
    source pixels. The requests share a source pixel's noise in proportion (each gets an independent
    Gaussian of its share as variance, bridged so that the shares sum to the pixel's value). The
    target's sum is divided by its deviation. Whoever gets nothing (from outside) is drawn afresh.
    All on the CPU; the generator belongs there.
    """
    channels, height, width = noise.shape
    source, area = _requests(flow)
    requested = torch.zeros(height * width).index_add_(0, source, area)
    share = area / requested[source].clamp_min(torch.finfo(torch.float32).tiny)
    pieces = torch.randn(channels, 4 * height * width, generator=generator) * share.sqrt()
    missing = rearrange(noise, "c h w -> c (h w)").index_add(1, source, pieces, alpha=-1)
    pieces += share * missing[:, source]
    total = reduce(pieces, "c (four h w) -> c h w", "sum", four=4, h=height, w=width)
    variance = reduce(share, "(four h w) -> h w", "sum", four=4, h=height, w=width)
    fresh = torch.randn(channels, height, width, generator=generator)
    return torch.where(variance > 0, total * variance.clamp_min(1e-12).rsqrt(), fresh)


def _requests(flow: Tensor) -> tuple[Tensor, Tensor]:
    """The four pixels around p + flow(p) and how much of each is asked for: both [4hw]."""
    height, width = flow.shape[1:]
    x = torch.arange(width) + flow[0]
    y = torch.arange(height)[:, None] + flow[1]
    sources, areas = [], []
    for row in (y.floor(), y.floor() + 1):
        for column in (x.floor(), x.floor() + 1):
            area = (1 - (y - row).abs()) * (1 - (x - column).abs())
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            areas.append(area * inside)
            sources.append((row.clamp(0, height - 1) * width + column.clamp(0, width - 1)).long())
    return torch.stack(sources).flatten(), torch.stack(areas).flatten()


def is_cut(previous: Tensor, current: Tensor) -> bool:
    """Whether a new shot begins between two frames [3 h w] in [-1, 1], of any two sizes.

    It does when the structure of the new frame cannot be had from the old one by moving blocks and
    changing their brightness, or half cannot and the colours differ too. Motion, a flash that
    leaves structure and a slow fade are none; a white-out is one, at the frame where the picture
    returns; a jump within a still shot (same person, same place) is none.
    """
    old, new = (
        F.interpolate(frame[None].float(), (_THUMBNAIL, _THUMBNAIL), mode="area")
        for frame in (previous, current)
    )
    unexplained = _unexplained(old, new)
    if unexplained <= _PERHAPS_CUT or unexplained > _SURELY_CUT:
        return unexplained > _SURELY_CUT
    return _colour_distance(old, new) > _OTHER_COLOURS


def _unexplained(old: Tensor, new: Tensor) -> float:
    """The share of the new thumbnail's structure (variance) that no moved old block explains."""
    old, new = (reduce(x, "b c h w -> b 1 h w", "mean") for x in (old, new))
    moved = rearrange(
        F.unfold(F.pad(old, (_REACH,) * 4, mode="replicate"), _THUMBNAIL),
        "1 (h w) shift -> shift 1 h w",
        h=_THUMBNAIL,
    )

    def mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, _BLOCK)

    # Least squares with an offset and a gain that is not negative: blocks brighten, never invert.
    structure = mean(new * new) - mean(new) ** 2
    variance = mean(moved * moved) - mean(moved) ** 2
    covariance = mean(moved * new) - mean(moved) * mean(new)
    left = (structure - covariance.clamp_min(0) ** 2 / (variance + 1e-6)).amin(0)
    return float((left - _GRAIN).clamp_min(0).sum() / (structure.sum() + 1e-6))


def _colour_distance(old: Tensor, new: Tensor, *, levels: int = 8) -> float:
    """One minus the Bhattacharyya overlap of two colour histograms, in [0, 1]."""
    counts = []
    for picture in (old, new):
        r, g, b = ((picture[0] + 1) / 2 * levels).long().clamp(0, levels - 1)
        colours = ((r * levels + g) * levels + b).flatten()
        counts.append(torch.bincount(colours, minlength=levels**3) / colours.numel())
    return 1 - float((counts[0] * counts[1]).sqrt().sum())


@dataclass(frozen=True)
class NoiseState:
    """What a NoiseStream needs to go on where it stopped."""

    index: int
    """Frames seen so far; the next frame has this absolute index."""
    frame: Tensor | None
    """The last frame [3 h w]; None before the first and after a skipped one."""
    noise: Tensor | None
    """The noise carried on the finer grid [c kh kw]."""


class NoiseStream:
    """Noise for the frames of a video in order, coherent along their motion.

    Each frame draws from its own generator, made from the seed and the frame's absolute index, and
    the flow is that of neighbouring frames: the same video gives the same noise in any chunks.
    """

    def __init__(
        self,
        seed: int,
        shape: tuple[int, int, int],
        *,
        detail: int = DETAIL,
        flow: Estimator = dense_flow,
    ) -> None:
        """shape: (c, h, w) of the noise. Raises ValueError for a negative seed."""
        if seed < 0 or detail < 1:
            raise ValueError(f"expected seed >= 0 and detail >= 1, got {seed} and {detail}")
        self._seed, self._shape, self._detail, self._flow = seed, shape, detail, flow
        self._state = NoiseState(0, None, None)

    def state(self) -> NoiseState:
        """Where the stream stands; restore() goes on from there."""
        return self._state

    def restore(self, state: NoiseState) -> None:
        """Go on from a state of a stream with the same seed, shape and detail."""
        self._state = state

    def skip(self) -> None:
        """Count a frame without a mouth; the noise after it is fresh."""
        self._state = NoiseState(self._state.index + 1, None, None)

    def next(self, frame: Tensor, mouth_mask: Tensor | None = None) -> Tensor:
        """The noise f32 [c h w] of the next frame [3 h w] in [-1, 1], on the CPU.

        mouth_mask: [1 h w] in [0, 1], the share of the noise's variance that is fresh; None is 0.
        At cuts all of it is fresh. Raises ValueError when the frame is not of the stream's size.
        """
        channels, height, width = self._shape
        if frame.shape[-2:] != (height, width):
            raise ValueError(
                f"expected frames of {height} x {width}, got {tuple(frame.shape)}; "
                "make another stream for another size"
            )
        frame = frame.detach().cpu()
        generator = self._generator(self._state.index)
        k = self._detail
        carried = self._carried(frame, generator)
        self._state = NoiseState(self._state.index + 1, frame, carried)
        noise = reduce(carried, "c (h k) (w l) -> c h w", "sum", k=k, l=k) / k
        if mouth_mask is None:
            return noise
        fresh = torch.randn(channels, height, width, generator=generator)
        mask = mouth_mask.detach().cpu()
        return (1 - mask).sqrt() * noise + mask.sqrt() * fresh

    def _carried(self, frame: Tensor, generator: torch.Generator) -> Tensor:
        """The last frame's noise, moved to this one; fresh without one or in a new shot."""
        old, k = self._state, self._detail
        if old.frame is None or old.noise is None or is_cut(old.frame, frame):
            channels, height, width = self._shape
            return torch.randn(channels, k * height, k * width, generator=generator)
        flow = self._flow(old.frame, frame)[None]
        fine = F.interpolate(flow, scale_factor=k, mode="bilinear") if k > 1 else flow
        return warp_noise(old.noise, k * fine[0], generator)

    def _generator(self, index: int) -> torch.Generator:
        """A generator for one frame; SeedSequence keeps neighbouring seeds and frames apart."""
        mixed = np.random.SeedSequence((self._seed, index)).generate_state(1, np.uint64)
        return torch.Generator().manual_seed(int(mixed[0]))
