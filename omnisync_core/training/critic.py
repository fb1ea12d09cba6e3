"""A critic for the editor's pictures: what the mean of all likely mouths lacks, it sees.

Losses that compare pixels are smallest at the mean of what a voice leaves open, which is a blur:
teeth become grey. The critic learns, patch by patch, which of two mouths of one face is the true
one, and the editor learns to be mistaken for it (relativistic pairs, Jolicoeur-Martineau 2018,
arXiv 1807.00734, section 4; patches, Isola et al. 2017, arXiv 1611.07004, section 3.2; balance,
Esser et al. 2021, arXiv 2012.09841, equation 7). It is thrown away after training.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

# Three halvings: a verdict sees 38 pixels of a crop of 144, two thirds of a mouth. Without norms:
# under spectral norm it could not tell the editor's mouths from true ones (docs/LOG.md).
_WIDTHS = (32, 64, 128)
_PATCH = 2 ** len(_WIDTHS)


class Critic(nn.Module):
    """Pictures and sources [n 3 h w] in [-1, 1] -> verdicts [n 1 h/8 w/8]; higher is truer."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        into = 6
        for width in _WIDTHS:
            layers += [nn.Conv2d(into, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
            into = width
        layers += [nn.Conv2d(into, into, 3, padding=1), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(into, 1, 1))

    def forward(self, pictures: Tensor, source: Tensor) -> Tensor:
        return self.layers(torch.cat([_without_grain(pictures), source], dim=1))


def _without_grain(pictures: Tensor) -> Tensor:
    """[n c h w] less what is as fine as noise, which the composite gives back: else the critic
    could know a true picture by its noise, and the editor learn to draw some."""
    tap = pictures.new_tensor([0.25, 0.5, 0.25])
    kernel = torch.outer(tap, tap).expand(pictures.shape[1], 1, 3, 3)
    padded = F.pad(pictures, (1, 1, 1, 1), mode="replicate")
    return F.conv2d(padded, kernel, groups=pictures.shape[1])


def contest(
    critic: Critic, clean: Tensor, truth: Tensor, source: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor]:
    """The critic's loss and the editor's, each of which teaches only its own side.

    clean, truth, source [b f 3 h w] in [-1, 1]; weight [b f 1 h w]: how much a place counts. Both
    are means over what counts: log 2 says that the critic cannot tell. 0 where nothing counts.
    """
    clean, truth, source, weight = (x.flatten(0, 1) for x in (clean, truth, source, weight))
    weight = F.avg_pool2d(weight, _PATCH)
    weight = weight / weight.sum().clamp_min(1e-6)
    true, drawn = critic(truth, source), critic(clean.detach(), source)
    own = F.softplus(drawn - true) * weight
    held = {name: one.detach() for name, one in critic.named_parameters()}
    drawn = functional_call(critic, held, (clean, source))
    return own.sum(), (F.softplus(true.detach() - drawn) * weight).sum()


def balanced(pull: Tensor, own: Tensor, others: Tensor, clean: Tensor) -> Tensor:
    """The editor's loss so weighted that it pulls at the pictures as hard as the others together,
    were the critic sure, and not at all when it cannot tell: then it would lead nowhere.

    pull, own: contest's losses, the editor's and the critic's. No fixed weight would fit: a
    critic's pull grew twelvefold from its 20th to its 120th step.
    """
    (gradient,) = torch.autograd.grad(pull, clean, retain_graph=True)
    (other,) = torch.autograd.grad(others, clean, retain_graph=True)
    sure = (1 - own.detach() / math.log(2)).clamp(min=0)
    return pull * (sure * other.norm() / gradient.norm().clamp_min(1e-12)).detach()
