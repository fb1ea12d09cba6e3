import pytest
import torch

from omnisync_core.errors import UserError
from omnisync_core.model import OmniSync
from omnisync_core.training.grow import grow


def _outputs(model: OmniSync) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    config = model.config
    pictures = torch.randn(2, 1, 3, 3, 16, 16, generator=generator)
    audio = torch.randn(1, 3, 2 * config.audio_reach + 1, config.audio_width, generator=generator)
    with torch.no_grad():
        tokens = model.encoder.encode(torch.randn(8_000, generator=generator))
        voice = model.voiceprint(tokens[None])
        times = torch.arange(3)[None] / 25
        drawn = model.transformer(*pictures, torch.tensor([0.9]), audio, voice, times)
    return [tokens, drawn]


def test_a_grown_model_does_what_it_did(tiny_model: OmniSync) -> None:
    config = tiny_model.config
    larger = grow(tiny_model, depth=config.depth + 2, audio_depth=config.audio_depth + 1)
    assert len(larger.transformer.blocks) == config.depth + 2
    for before, after in zip(_outputs(tiny_model), _outputs(larger), strict=True):
        torch.testing.assert_close(after, before)


def test_what_grew_can_learn(tiny_model: OmniSync) -> None:
    larger = grow(tiny_model, depth=tiny_model.config.depth + 1, audio_depth=9)
    larger.encoder(torch.randn(1, 20, 80)).square().sum().backward()
    grad = larger.encoder.blocks[-1].feed[-1].weight.grad
    assert grad is not None and grad.abs().max() > 0


def test_a_model_does_not_shrink(tiny_model: OmniSync) -> None:
    with pytest.raises(UserError, match="can only grow"):
        grow(grow(tiny_model, depth=3, audio_depth=3), depth=2, audio_depth=3)
