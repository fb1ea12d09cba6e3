import pytest
import torch
from torch.nn import functional as F

from omnisync_core.layers import Attention, TimeEmbedding, rotary


def _turned(vector: torch.Tensor, position: float) -> torch.Tensor:
    """One vector [e], each pair (i, i + e/2) turned by position * rate, pair by pair."""
    half = len(vector) // 2
    out = vector.clone()
    for i in range(half):
        angle = torch.tensor(position * 10_000.0 ** (-i / half))
        a, b = vector[i], vector[i + half]
        out[i] = a * angle.cos() - b * angle.sin()
        out[i + half] = b * angle.cos() + a * angle.sin()
    return out


def _slow_attention(layer: Attention, x: torch.Tensor, positions: list[float]) -> torch.Tensor:
    """Attention of one sequence [n d] head by head, query by query."""
    queries, (keys, values) = layer.to_query(x), layer.to_key_value(x).chunk(2, dim=-1)
    e = x.shape[1] // layer.heads
    out = torch.zeros_like(x)
    for head in range(layer.heads):
        part = slice(head * e, (head + 1) * e)
        key = [_turned(layer.norm_key(k[part]), p) for k, p in zip(keys, positions, strict=True)]
        for i, position in enumerate(positions):
            query = _turned(layer.norm_query(queries[i, part]), position)
            scores = torch.stack([query @ k for k in key]) / e**0.5
            out[i, part] = scores.softmax(0) @ values[:, part]
    return layer.out(out)


@pytest.mark.parametrize("learning", [False, True])
def test_attention_agrees_with_a_slow_reference(*, learning: bool) -> None:
    torch.manual_seed(0)
    layer, x, positions = Attention(16, 2), torch.randn(5, 16), [0.0, 1.0, 2.0, 3.5, 7.0]
    with torch.set_grad_enabled(learning):
        fast = layer(x[None], positions=rotary(torch.tensor(positions)[:, None], 8))[0]
    torch.testing.assert_close(fast, _slow_attention(layer, x, positions), atol=1e-5, rtol=1e-5)


def test_attention_only_knows_how_far_apart_positions_are() -> None:
    torch.manual_seed(0)
    layer, x = Attention(16, 2), torch.randn(1, 5, 16)
    places = torch.arange(5.0)[:, None]
    here, there = (layer(x, positions=rotary(places + shift, 8)) for shift in (0, 40))
    torch.testing.assert_close(here, there, atol=1e-5, rtol=1e-4)


def test_rotary_turns_no_token_at_the_origin() -> None:
    cosine, sine = rotary(torch.zeros(1, 2), 16)
    assert cosine.eq(1).all() and sine.eq(0).all()


def test_each_axis_turns_its_own_share_of_the_pairs() -> None:
    _, sine = rotary(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), 16)
    moved = sine.ne(0)
    assert not (moved[0] & moved[1]).any() and (moved[0] | moved[1]).all()


def test_context_without_information_adds_the_same_to_every_query() -> None:
    torch.manual_seed(0)
    layer = Attention(16, 2, context_width=8)
    out = layer(torch.randn(1, 5, 16), torch.randn(1, 1, 8).expand(1, 7, 8))
    torch.testing.assert_close(out, out[:, :1].expand_as(out))


@pytest.mark.parametrize("steps", [10, 1000])
def test_every_flow_time_of_the_grid_has_its_own_embedding(steps: int) -> None:
    torch.manual_seed(0)
    embedded = F.normalize(TimeEmbedding(32)(torch.linspace(0, 1, steps + 1)), dim=1)
    assert (embedded[1:] - embedded[:-1]).norm(dim=1).min() > 1e-4
