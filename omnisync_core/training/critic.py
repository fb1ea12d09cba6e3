"""A critic that asks whether a mouth is sharp: the adversarial term of a stage.

The squared error is least for the mean of all mouths that would fit, which is a blurred one. The
critic learns, beside the editor, to tell true mouths from drawn ones, piece by piece, and the
editor learns not to be told (PatchGAN and hinge loss: Isola et al. 2017, Miyato et al. 2018). Since
each drawn mouth has its true one, the critic's features of both are compared as well (Wang et al.
2018, pix2pixHD), which keeps such training from inventing. It is of no use outside training.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

_FEATURES_WEIGHT = 10.0  # of the features' difference against the score: pix2pixHD's


def mouth_pieces(pictures: Tensor, mouth: Tensor) -> Tensor:
    """The squares [n c s s] of half the side around the mouths [n 2] (pixels) of pictures
    [n c h w], a little lower to hold the chin; held inside the picture."""
    side = pictures.shape[-1] // 2
    middle = mouth + mouth.new_tensor([0.0, 0.08 * side])
    corners = (middle - side / 2).round().long().clamp(0, pictures.shape[-1] - side)
    return torch.stack(
        [one[:, y : y + side, x : x + side] for one, (x, y) in zip(pictures, corners, strict=True)]
    )


class Critic(nn.Module):
    """Scores of pieces of a mouth, each 26 pixels wide, beside the source that it was made from."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            spectral_norm(nn.Conv2d(wide, out, kernel, stride, padding=1))
            for wide, out, kernel, stride in (
                (6, width, 4, 2),
                (width, 2 * width, 4, 2),
                (2 * width, 4 * width, 3, 1),
                (4 * width, 1, 3, 1),
            )
        )

    def forward(self, pictures: Tensor, source: Tensor) -> list[Tensor]:
        """Both [n 3 h w] in [-1, 1]; every layer's output, the scores [n 1 h/4 w/4] last."""
        x, outputs = torch.cat([pictures, source], dim=1), []
        for number, layer in enumerate(self.layers):
            x = layer(x if number == 0 else F.leaky_relu(x, 0.2))
            outputs.append(x)
        return outputs

    def terms(self, clean: Tensor, truth: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
        """The editor's loss and the critic's own, of mouths [n 3 h w]: the gradient of each
        reaches only the one that it teaches."""
        seen, true = self(clean.detach(), source)[-1], self(truth, source)
        own = F.relu(1 - true[-1]).mean() + F.relu(1 + seen).mean()
        frozen = {name: one.detach() for name, one in self.named_parameters()}
        drawn = functional_call(self, frozen, (clean, source))
        apart = torch.stack(
            [F.l1_loss(a, b.detach()) for a, b in zip(drawn[:-1], true[:-1], strict=True)]
        )
        return _FEATURES_WEIGHT * apart.mean() - drawn[-1].mean(), own
