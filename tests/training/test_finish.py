from copy import deepcopy

import pytest
import torch

from omnisync_core.errors import UserError
from omnisync_core.model import OmniSync
from omnisync_core.training.finish import calm_in_silence, mean_of
from omnisync_core.training.grow import grow


def _voices(count: int, seed: int) -> list[torch.Tensor]:
    """Sounds that differ in level and colour."""
    generator = torch.Generator().manual_seed(seed)
    sounds = [torch.randn(8_000, generator=generator) for _ in range(count)]
    return [sound.cumsum(0) * 10 ** (-3 * i / count) / 90 for i, sound in enumerate(sounds)]


def _voiceprint(model: OmniSync, sound: torch.Tensor) -> torch.Tensor:
    return model.encode_audio(sound, torch.zeros(1)).voiceprint


def test_the_mean_of_two_models_lies_between_them(tiny_model: OmniSync) -> None:
    other = deepcopy(tiny_model)
    with torch.no_grad():
        other.transformer.embed.weight += 2
    mean = mean_of([tiny_model, other])
    torch.testing.assert_close(
        mean.transformer.embed.weight, tiny_model.transformer.embed.weight + 1
    )
    alone = mean_of([tiny_model]).state_dict()
    torch.testing.assert_close(alone, tiny_model.state_dict(), rtol=0, atol=0)


def test_models_of_two_sizes_have_no_mean(tiny_model: OmniSync) -> None:
    larger = grow(tiny_model, depth=5, audio_depth=5)
    with pytest.raises(UserError, match="same size"):
        mean_of([tiny_model, larger])


def test_silence_sounds_like_the_mean_voice_and_voices_like_themselves(
    tiny_model: OmniSync,
) -> None:
    calm, silence = deepcopy(tiny_model), torch.zeros(30_000)
    calm_in_silence(calm, _voices(12, 0))
    known = torch.stack([_voiceprint(tiny_model, sound) for sound in _voices(12, 0)])
    like = lambda a, b: float(torch.cosine_similarity(a, b, dim=-1).min())  # noqa: E731
    assert like(_voiceprint(tiny_model, silence), known.mean(0)) < 0.95
    assert like(_voiceprint(calm, silence), known.mean(0)) > 0.98
    after = torch.stack([_voiceprint(calm, sound) for sound in _voices(12, 0)])
    assert like(after, known) > 0.98
