"""FlowNet3D: optical flow by a small network that convolves over time, rows and columns.

In: two frames f32 [b 3 h w] in [-1, 1]. Out: the backward flow [b 2 h w] in pixels, as
optical_flow.dense_flow gives it. A spatial pyramid (Ranjan and Black 2017): from coarse to fine the
older frame is moved by the flow so far, and the same 3-D convolutions over (older, newer) add what
is still missing. They see local contrast: from the colours alone, whose changes from frame to frame
are small beside themselves, nothing was learnt in 800 steps. Trained by training/flow_net.py.
"""

from __future__ import annotations

from pathlib import Path

import torch
from einops import rearrange
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from .errors import UserError
from .optical_flow import backward_warp, halve, resize_flow

FORMAT = "omnisync-flow-2"
_WIDTH, _DEPTH = 40, 4
# The coarsest level has at least this many pixels a side: a tenth of the picture is a pixel there.
_COARSEST = 12
# The variance below which a place counts as flat: a deviation of one grey level.
_FLAT = (2 / 255) ** 2
_STEPS = 2  # of refinement at each level; the weights are the same everywhere


def local_contrast(frames: Tensor) -> Tensor:
    """Frames [b c h w] less their mean around, by their deviation there (Jarrett et al. 2009)."""
    apart = frames - _window_mean(frames)
    return apart / (_window_mean(apart.square()).mean(1, keepdim=True) + _FLAT).sqrt()


def _window_mean(frames: Tensor) -> Tensor:
    return F.avg_pool2d(frames, 5, stride=1, padding=2, count_include_pad=False)


class FlowNet3D(nn.Module):
    """See the module's docstring. 135 thousand parameters; 0.5 MB of weights."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv3d(5, _WIDTH, 3, padding=1), nn.GELU()]
        for _ in range(_DEPTH - 1):
            layers += [nn.Conv3d(_WIDTH, _WIDTH, 3, padding=1), nn.GELU()]
        # Over both moments at once: time ends here.
        out = nn.Conv3d(_WIDTH, 2, (2, 3, 3), padding=(0, 1, 1))
        nn.init.zeros_(out.weight)
        nn.init.zeros_(out.bias)  # pyright: ignore[reportArgumentType]  # it has one
        self.net = nn.Sequential(*layers, out)

    @classmethod
    def load(cls, path: Path) -> FlowNet3D:
        """Weights from a safetensors file. Raises UserError when it holds something else."""
        try:
            with safe_open(str(path), framework="pt") as file:
                found = (file.metadata() or {}).get("format")
                weights = {key: file.get_tensor(key).float() for key in file.keys()}
        except Exception as error:  # safetensors raises its own kinds for what is no such file
            raise UserError(f"The flow weights {path} cannot be read ({error}).") from None
        if found != FORMAT:
            raise UserError(
                f"expected flow weights of format {FORMAT!r} in {path}, got {found!r}; make them "
                "with omnisync_core.training.flow_net"
            )
        net = cls()
        net.load_state_dict(weights)
        return net.eval()

    def forward(self, previous: Tensor, current: Tensor) -> Tensor:
        return resize_flow(self.levels(previous, current)[-1], *current.shape[2:])

    def levels(self, previous: Tensor, current: Tensor) -> list[Tensor]:
        """The flow of every step, in pixels of its level, coarse first. The last level is half
        the picture's size: flow is smooth, and the full size would take four times as long."""
        pyramid = [(previous, current)]
        while min(pyramid[-1][0].shape[2:]) >= 2 * _COARSEST:
            before, after = pyramid[-1]
            pyramid.append((halve(before), halve(after)))
        flow = previous.new_zeros(len(previous), 2, *pyramid[-1][0].shape[2:])
        flows = []
        for before, after in reversed(pyramid[1:] or pyramid):
            flow = resize_flow(flow, *after.shape[2:])
            before, after = local_contrast(before), local_contrast(after)
            for _ in range(_STEPS):
                moments = torch.stack([backward_warp(before, flow), after], dim=2)
                known = flow[:, :, None].expand(-1, -1, 2, -1, -1)
                step = self.net(torch.cat([moments, known], dim=1))
                flow = flow + rearrange(step, "b d 1 h w -> b d h w")
                flows.append(flow)
        return flows

    @torch.inference_mode()
    def estimate(self, previous: Tensor, current: Tensor) -> Tensor:
        """The same for one pair [3 h w], on the frames' device: [2 h w]; see `dense_flow`."""
        device = next(self.parameters()).device
        pair = (frame[None].to(device, torch.float32) for frame in (previous, current))
        return self(*pair)[0].to(current.device)
