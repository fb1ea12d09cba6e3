"""A critic for the editor's pictures: what the mean of all likely mouths lacks, it sees.

Losses that compare pixels are smallest at the mean of what a voice leaves open, which is a blur:
teeth become grey. The critic learns, patch by patch, which of two mouths of one face is the true
one, and the editor learns to be mistaken for it (relativistic pairs, Jolicoeur-Martineau 2018,
arXiv 1807.00734, section 4; spectral norm, Miyato et al. 2018, arXiv 1802.05957; patches, Isola et
al. 2017, arXiv 1611.07004). It is thrown away after training.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

# Three halvings: a verdict sees 38 pixels of a crop of 144, two thirds of a mouth. Not swept.
_WIDTHS = (32, 64, 128)
_PATCH = 2 ** len(_WIDTHS)


class Critic(nn.Module):
    """Pictures and sources [n 3 h w] in [-1, 1] -> verdicts [n 1 h/8 w/8]; higher is truer."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        into = 6
        for width in _WIDTHS:
            layers += [spectral_norm(nn.Conv2d(into, width, 4, stride=2, padding=1)), nn.SiLU()]
            into = width
        layers += [spectral_norm(nn.Conv2d(into, into, 3, padding=1)), nn.SiLU()]
        self.layers = nn.Sequential(*layers, spectral_norm(nn.Conv2d(into, 1, 1)))

    def forward(self, pictures: Tensor, source: Tensor) -> Tensor:
        return self.layers(torch.cat([pictures, source], dim=1))


def contest(
    critic: Critic, clean: Tensor, truth: Tensor, source: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor]:
    """The critic's loss and the editor's, each of which teaches only its own side.

    clean, truth, source [b f 3 h w] in [-1, 1]; weight [b f 1 h w]: how much a place counts.
    """
    clean, truth, source, weight = (x.flatten(0, 1) for x in (clean, truth, source, weight))
    weight = F.avg_pool2d(weight, _PATCH)
    true, drawn = critic(truth, source), critic(clean.detach(), source)
    own = F.softplus(drawn - true) * weight
    held = {name: one.detach() for name, one in critic.named_parameters()}
    drawn = functional_call(critic, held, (clean, source))
    return own.mean(), (F.softplus(true.detach() - drawn) * weight).mean()
