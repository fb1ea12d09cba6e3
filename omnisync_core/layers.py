"""Building blocks of the transformers: rotary attention, feed-forward, time embedding.

Legend: b batch, n tokens, m context tokens, d width, e channels of a head.
"""

from __future__ import annotations

import math

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

# The usual base (Su et al. 2021); no other was tried.
_ROTARY_BASE = 10_000.0


def rotary(positions: Tensor, head_width: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine [n, e / 2] of rotary embedding for positions [n, axes].

    The pairs of channels are shared out among the axes in turn (RoFormer, Su et al. 2021, extended
    to axes as usual for pictures): a token's row, column or time turns its own share of the pairs.
    """
    pairs, axes = head_width // 2, positions.shape[1]
    index = torch.arange(pairs, device=positions.device)
    rate = _ROTARY_BASE ** -((index // axes).float() / math.ceil(pairs / axes))
    angle = positions.float()[:, index % axes] * rate
    return angle.cos(), angle.sin()


def _turn(x: Tensor, positions: tuple[Tensor, Tensor]) -> Tensor:
    cosine, sine = (part.to(x.dtype) for part in positions)  # [n, e/2], broadcast over b and heads
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1)


# Keys up to which a CPU learns by the two products: measured at 144; more of them take much memory.
_FEW = 256


def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(query key^T / sqrt(e)) value: [b h n e] and twice [b h m e] -> [b h n e]."""
    if query.requires_grad and query.device.type == "cpu" and key.shape[-2] <= _FEW:
        # Their backward pass takes three quarters of the fused one's time (docs/LOG.md).
        shares = (query @ key.transpose(-1, -2)) * query.shape[-1] ** -0.5
        return shares.float().softmax(-1).to(value) @ value
    return F.scaled_dot_product_attention(query, key, value)


class Attention(nn.Module):
    """Multi-head attention with RMS-normalised queries and keys; to itself or to a context.

    forward(x [b n d], context [b m c] | None, positions of x | None, positions of the context
    | None: those of x) -> [b n d]
    """

    def __init__(self, width: int, heads: int, *, context_width: int | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.to_query = nn.Linear(width, width, bias=False)
        self.to_key_value = nn.Linear(context_width or width, 2 * width, bias=False)
        self.norm_query = nn.RMSNorm(width // heads)
        self.norm_key = nn.RMSNorm(width // heads)
        self.out = nn.Linear(width, width)

    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        *,
        positions: tuple[Tensor, Tensor] | None = None,
        context_positions: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        query = rearrange(self.to_query(x), "b n (h e) -> b h n e", h=self.heads)
        key, value = rearrange(
            self.to_key_value(x if context is None else context),
            "b m (kv h e) -> kv b h m e",
            kv=2,
            h=self.heads,
        )
        query, key = self.norm_query(query), self.norm_key(key)
        if positions is not None:
            query, key = _turn(query, positions), _turn(key, context_positions or positions)
        mixed = _attend(query, key, value)
        return self.out(rearrange(mixed, "b h n e -> b n (h e)"))


class FeedForward(nn.Sequential):
    """Two linear layers, four times as wide between them: [.. d] -> [.. d]."""

    def __init__(self, width: int) -> None:
        super().__init__(
            nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width)
        )


class TimeEmbedding(nn.Module):
    """Flow time t [b] in [0, 1] -> [b, d]: sinusoids (Vaswani et al. 2017) of 1000 t and an MLP."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(256, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: Tensor) -> Tensor:
        rate = torch.exp(-math.log(10_000) * torch.arange(128, device=t.device) / 128)
        angle = 1000 * t.float()[:, None] * rate
        waves = torch.cat([angle.cos(), angle.sin()], dim=-1)
        return self.mlp(waves.to(next(self.mlp.parameters()).dtype))
