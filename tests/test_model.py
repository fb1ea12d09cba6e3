from dataclasses import replace

import pytest
import torch
from torch import Tensor

from omnisync_core.config import ModelConfig
from omnisync_core.model import FrameAudio, OmniSync


def _noisy_and_source(frames: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    noisy = torch.randn(1, frames, 3, 16, 16, generator=generator)
    return noisy, torch.rand(1, frames, 3, 16, 16, generator=generator) * 2 - 1


def _audio(model: OmniSync, *, frames: int = 2, rate: float = 25.0, seed: int = 1) -> FrameAudio:
    waveform = 0.1 * torch.randn(8000, generator=torch.Generator().manual_seed(seed))
    return model.encode_audio(waveform, torch.arange(frames) / rate)


@pytest.mark.parametrize("t", [1.0, 0.5, 0.001])
def test_untrained_the_velocity_leads_back_to_the_source(tiny: ModelConfig, t: float) -> None:
    model, (noisy, source) = OmniSync(tiny), _noisy_and_source()
    (velocity,) = model.velocities(noisy, t, source, _audio(model), ["audio"])
    torch.testing.assert_close(noisy - t * velocity, source, atol=1e-4, rtol=1e-4)


def test_conditions_of_one_batch_are_those_asked_for_one_by_one(tiny_model: OmniSync) -> None:
    (noisy, source), audio = _noisy_and_source(), _audio(tiny_model)
    names = ["audio", "none", "unordered"]
    together = tiny_model.velocities(noisy, 0.7, source, audio, names)
    for name, velocity in zip(names, together, strict=True):
        (alone,) = tiny_model.velocities(noisy, 0.7, source, audio, [name])
        torch.testing.assert_close(velocity, alone, atol=1e-4, rtol=1e-4)


def test_the_conditions_differ_once_the_network_listens(tiny_model: OmniSync) -> None:
    (noisy, source), audio = _noisy_and_source(), _audio(tiny_model)
    first, second, third = tiny_model.velocities(
        noisy, 0.7, source, audio, ["none", "unordered", "audio"]
    )
    assert not torch.allclose(first, second) and not torch.allclose(second, third)


def test_without_audio_nothing_of_the_voice_gets_through(tiny_model: OmniSync) -> None:
    noisy, source = _noisy_and_source()
    one, other = (
        tiny_model.velocities(noisy, 0.7, source, _audio(tiny_model, seed=seed), ["none"])[0]
        for seed in (1, 2)
    )
    assert torch.equal(one, other)


def test_unordered_audio_does_not_tell_the_order(tiny_model: OmniSync) -> None:
    (noisy, source), audio = _noisy_and_source(), _audio(tiny_model)
    turned = replace(audio, tokens=audio.tokens.flip(0))
    names = ["unordered", "audio"]
    before = tiny_model.velocities(noisy, 0.7, source, audio, names)
    after = tiny_model.velocities(noisy, 0.7, source, turned, names)
    assert torch.equal(before[0], after[0]) and not torch.allclose(before[1], after[1])


def test_another_voiceprint_does_not_touch_an_untrained_picture(tiny: ModelConfig) -> None:
    model, (noisy, source) = OmniSync(tiny), _noisy_and_source()
    audio = _audio(model)
    swapped = replace(audio, voiceprint=-audio.voiceprint)
    one, other = (model.velocities(noisy, 0.9, source, a, ["audio"])[0] for a in (audio, swapped))
    assert torch.equal(one, other)


def test_another_voiceprint_changes_less_than_another_picture(tiny_model: OmniSync) -> None:
    (noisy, source), audio = _noisy_and_source(), _audio(tiny_model)
    swapped = replace(audio, voiceprint=-audio.voiceprint)

    def clean(pictures: Tensor, heard: FrameAudio) -> Tensor:
        return noisy - 0.9 * tiny_model.velocities(noisy, 0.9, pictures, heard, ["audio"])[0]

    base = clean(source, audio)
    by_voice = (clean(source, swapped) - base).abs().mean()
    by_picture = (clean(-source, audio) - base).abs().mean()
    assert 0 < by_voice < 0.3 * by_picture


@pytest.mark.parametrize("rate", [10.0, 23.976, 60.0])
def test_every_frame_has_its_audio_at_any_rate(tiny_model: OmniSync, rate: float) -> None:
    audio = _audio(tiny_model, frames=7, rate=rate)
    assert audio.windows.shape == (7, 13, 32) and audio.voiceprint.shape == (256,)
    assert audio.windows.isfinite().all()


def test_a_span_is_the_audio_of_those_frames(tiny_model: OmniSync) -> None:
    audio = _audio(tiny_model, frames=6)
    part = audio.span(2, 4)
    assert torch.equal(part.windows, audio.windows[2:4])
    assert torch.equal(part.times, audio.times[2:4])
    assert torch.equal(part.voiceprint, audio.voiceprint)


def test_silence_and_a_hundredth_of_a_second_are_voices_too(tiny_model: OmniSync) -> None:
    for waveform in (torch.zeros(8000), 0.1 * torch.ones(160)):
        audio = tiny_model.encode_audio(waveform, torch.arange(3) / 25)
        assert audio.windows.isfinite().all() and audio.voiceprint.isfinite().all()
