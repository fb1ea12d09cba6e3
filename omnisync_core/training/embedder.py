"""Whose face is it: the embedders that the identity loss compares pictures with.

In: standard crops f32 [n 3 h w] in [-1, 1]. Out: unit vectors [n d].

- A face embedder of the user's (ArcFace, SFace ...) as a TorchScript file. None ships: the usual
  weights are not free for every use.
- `locator`: features of the locator that ships. They tell pictures apart, hardly people: on 120
  rendered clips they put another clip of the same head (other light and pose) above one of another
  head in 59 % of the cases, chance being 50. What they give is named likeness, never identity.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UserError
from ..locator import CROP, MouthLocator

FACE = 112
"""Side in pixels that face embedders take: ArcFace's, and all after it."""
_FEATURES = 5  # layers of the locator's refiner: up to its 96 maps of 8 x 8


class Embedder(nn.Module):
    """A frozen network over pictures of one size; term names what its cosine measures."""

    def __init__(self, net: nn.Module, side: int, term: str) -> None:
        super().__init__()
        self.net, self.side, self.term = net.eval(), side, term
        for parameter in net.parameters():  # scripted modules have no requires_grad_ of their own
            parameter.requires_grad_(False)

    def train(self, mode: bool = True) -> Embedder:
        """Stays as it is: batch norms must not learn here."""
        return self

    def forward(self, pictures: Tensor) -> Tensor:
        size = (self.side, self.side)
        small = F.interpolate(pictures, size, mode="bilinear", antialias=True)
        return F.normalize(self.net(small).flatten(1), dim=1)


def load_embedder(name: str) -> Embedder:
    """The embedder of a TorchScript file ([n 3 112 112] RGB in [-1, 1] -> [n d]), or `locator`.

    Raises UserError for a file that is no such network.
    """
    if name == "locator":
        return Embedder(MouthLocator.load().refiner.net[:_FEATURES], CROP, "likeness")
    wanted = (
        "Expected a face embedder: a TorchScript file whose network takes float pictures "
        f"[n 3 {FACE} {FACE}], RGB in [-1, 1], and gives one vector [n d] each; "
    )
    if not Path(name).is_file():
        raise UserError(f"{wanted}there is no file {name}. `locator` is the one that ships.")
    try:
        net = torch.jit.load(name, map_location="cpu").eval()
        found = net(torch.zeros(2, 3, FACE, FACE))
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"{wanted}{name} cannot be run as one ({str(error).splitlines()[-1]})."
        ) from None
    if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != 2:
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise UserError(f"{wanted}two pictures gave {shape} from {name}.")
    return Embedder(net, FACE, "identity")
