import math

import numpy as np
import pytest
import torch

from omnisync_core.audio import (
    SAMPLE_RATE,
    TOKEN_RATE,
    AudioEncoder,
    Voiceprint,
    frame_windows,
    log_mel,
    mel_filterbank,
    mel_power,
)
from omnisync_core.checkpoint import load_model
from omnisync_core.config import ModelConfig

_SILENT = (math.log(1e-7) + 7) / 4


def _speechlike(seconds: float, *, seed: int = 0) -> torch.Tensor:
    """Noise whose loudness moves at the rate of syllables."""
    generator = torch.Generator().manual_seed(seed)
    noise = 0.1 * torch.randn(int(seconds * SAMPLE_RATE), generator=generator)
    return noise * torch.sin(torch.arange(len(noise)) / SAMPLE_RATE * 2 * math.pi * 2).abs()


def _slaney_hz(mel: float) -> float:
    """Slaney's Auditory Toolbox: 66.67 Hz a step up to 1 kHz, then 27 steps to a factor of 6.4."""
    return mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)


def _slow_filterbank() -> np.ndarray:
    """Triangles of unit area over the bins, written out bin by bin."""
    highest = 15 + 27 * math.log(8) / math.log(6.4)
    corners = [_slaney_hz(highest * i / 81) for i in range(82)]
    bank = np.zeros((80, 257))
    for band in range(80):
        left, peak, right = corners[band : band + 3]
        for k in range(257):
            hertz = k * 31.25
            if left < hertz <= peak:
                bank[band, k] = (hertz - left) / (peak - left)
            elif peak < hertz < right:
                bank[band, k] = (right - hertz) / (right - peak)
        bank[band] *= 2 / (right - left)
    return bank


def _slow_power(waveform: np.ndarray, frame: int) -> np.ndarray:
    """Power [257] of one frame by the definition of the DFT: 25 ms Hann around frame * 10 ms."""
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    around = np.zeros(400)
    for i in range(400):
        at = frame * 160 - 200 + i
        around[i] = waveform[at] if 0 <= at < len(waveform) else 0
    k, n = np.arange(257)[:, None], np.arange(400)[None]
    return np.abs((hann * around * np.exp(-2j * np.pi * k * n / 512)).sum(1)) ** 2


def test_the_filterbank_agrees_with_slaneys_formulas() -> None:
    np.testing.assert_allclose(mel_filterbank().numpy(), _slow_filterbank(), atol=1e-7)


def test_mel_power_agrees_with_a_slow_transform() -> None:
    waveform = _speechlike(0.1)
    fast = mel_power(waveform[None])[0].numpy()
    slow = [_slow_filterbank() @ _slow_power(waveform.numpy(), frame) for frame in range(11)]
    np.testing.assert_allclose(fast, slow, rtol=1e-3, atol=1e-8)


@pytest.mark.parametrize("hertz", [200, 1000, 3000, 7000])
def test_a_pure_tone_is_loudest_in_the_band_around_it(hertz: float) -> None:
    tone = torch.sin(2 * math.pi * hertz * torch.arange(8000) / SAMPLE_RATE)
    loudest = int(mel_power(tone[None])[0].mean(0).argmax())
    highest = 15 + 27 * math.log(8) / math.log(6.4)
    assert _slaney_hz(highest * loudest / 81) <= hertz <= _slaney_hz(highest * (loudest + 2) / 81)


def test_the_mel_of_silence_is_the_floor_and_not_infinite() -> None:
    assert log_mel(torch.zeros(1, 3200)).sub(_SILENT).abs().max() < 1e-5


def test_the_encoder_halves_the_rate_of_the_mel(tiny: ModelConfig) -> None:
    assert AudioEncoder(tiny)(torch.randn(2, 40, 80)).shape == (2, 20, 32)


@pytest.mark.parametrize(
    ("samples", "tokens"), [(1, 1), (160, 1), (320, 1), (321, 2), (16_000, 50), (16_001, 51)]
)
def test_a_sound_has_fifty_tokens_a_second_however_short(
    tiny: ModelConfig, samples: int, tokens: int
) -> None:
    encoded = AudioEncoder(tiny).encode(0.1 * torch.ones(samples))
    assert encoded.shape == (tokens, 32) and encoded.isfinite().all()


def test_silence_encodes_to_finite_tokens(tiny: ModelConfig) -> None:
    assert AudioEncoder(tiny).encode(torch.zeros(8000)).isfinite().all()


def test_tokens_are_the_same_whatever_comes_a_segment_later(tiny: ModelConfig) -> None:
    encoder, sound = AudioEncoder(tiny), _speechlike(13)
    whole, start = encoder.encode(sound), encoder.encode(sound[: 8 * SAMPLE_RATE])
    assert torch.equal(whole[:275], start[:275])  # the cross-fade to the next begins at 275


def test_tokens_do_not_jump_from_one_segment_to_the_next(tiny: ModelConfig) -> None:
    torch.manual_seed(0)
    hum = torch.sin(2 * math.pi * 150 * torch.arange(13 * SAMPLE_RATE) / SAMPLE_RATE)
    steps = AudioEncoder(tiny).encode(hum).diff(dim=0).norm(dim=1)
    assert steps[299] < 1.5 * steps[270:330].median()  # cut hard there, the step is 3 times that


def test_segments_agree_with_the_sound_encoded_as_a_whole(tiny: ModelConfig) -> None:
    torch.manual_seed(0)
    encoder, sound = AudioEncoder(tiny), _speechlike(19)
    with torch.no_grad():
        whole = encoder(log_mel(sound[None]))[0]
    middle = slice(300, 600)  # from seam to seam; both hear nothing but this sound
    error = (encoder.encode(sound)[middle] - whole[middle]).norm(dim=1) / whole[middle].norm(dim=1)
    # Attention reaches 8 s in a segment and 19 s in the whole, so they agree about as closely as
    # that; tokens that have nothing in common are 1.4 apart.
    assert error.median() < 0.25 and error.max() < 0.5


def test_encoding_is_deterministic(tiny: ModelConfig) -> None:
    encoder, sound = AudioEncoder(tiny), _speechlike(0.5)
    assert torch.equal(encoder.encode(sound), encoder.encode(sound))


@pytest.mark.parametrize("loudness", [0.3, 0.03])
def test_the_embedded_ears_take_noise_for_silence(loudness: float) -> None:
    encoder, generator = load_model("mini").encoder, torch.Generator().manual_seed(0)
    silence = encoder.encode(torch.zeros(3 * SAMPLE_RATE))
    noise = encoder.encode(loudness * torch.randn(3 * SAMPLE_RATE, generator=generator))
    assert (noise - silence).square().mean() < 0.2 * silence.var()


def test_a_louder_sound_of_a_batch_does_not_change_its_neighbour(tiny: ModelConfig) -> None:
    encoder = AudioEncoder(tiny)
    mel = log_mel(torch.stack([_speechlike(0.4), 5 * _speechlike(0.4, seed=1)]))
    torch.testing.assert_close(encoder(mel)[:1], encoder(mel[:1]), atol=1e-5, rtol=1e-5)


def test_every_parameter_of_the_ears_gets_a_finite_gradient(tiny: ModelConfig) -> None:
    torch.manual_seed(0)
    encoder, voiceprint = AudioEncoder(tiny), Voiceprint(tiny)
    tokens = encoder(log_mel(_speechlike(0.4)[None]))
    (tokens.square().sum() + (voiceprint(tokens) * torch.randn(256)).sum()).backward()
    for name, parameter in [*encoder.named_parameters(), *voiceprint.named_parameters()]:
        # A bias of all scores cancels in the softmax: its gradient is zero up to rounding.
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_a_voiceprint_has_unit_variance_and_does_not_know_the_order(tiny: ModelConfig) -> None:
    torch.manual_seed(0)
    voiceprint, tokens = Voiceprint(tiny), torch.randn(1, 30, 32)
    heard = voiceprint(tokens)
    assert heard.shape == (1, 256) and heard.square().mean().sub(1).abs() < 1e-4
    torch.testing.assert_close(voiceprint(tokens.flip(1)), heard, atol=1e-5, rtol=1e-4)


def test_the_voiceprint_does_not_hear_padding(tiny: ModelConfig) -> None:
    voiceprint = Voiceprint(tiny)
    tokens = torch.randn(2, 30, tiny.audio_width, generator=torch.Generator().manual_seed(0))
    alone = torch.cat([voiceprint(tokens[:1, :12]), voiceprint(tokens[1:])])
    torch.testing.assert_close(voiceprint(tokens, torch.tensor([12, 30])), alone)


def test_frame_windows_at_token_times_are_the_tokens_themselves() -> None:
    tokens = torch.randn(20, 4)
    windows = frame_windows(tokens, torch.tensor([5, 9]) / TOKEN_RATE, reach=2)
    torch.testing.assert_close(windows, torch.stack([tokens[3:8], tokens[7:12]]))


@pytest.mark.parametrize("rate", [12.0, 23.976, 25.0, 29.97, 60.0])
def test_frame_windows_are_linear_between_tokens_at_any_frame_rate(rate: float) -> None:
    ramp = torch.arange(200.0)[:, None]  # token k holds k, so a value tells its own time
    times = torch.arange(20) / rate + 0.2
    windows = frame_windows(ramp, times, reach=1)[..., 0]
    expected = times[:, None] * TOKEN_RATE + torch.tensor([-1.0, 0.0, 1.0])
    torch.testing.assert_close(windows, expected, atol=1e-3, rtol=1e-4)


def test_frame_windows_repeat_the_ends_outside_the_sound() -> None:
    tokens = torch.randn(3, 4)
    windows = frame_windows(tokens, torch.tensor([-1.0, 9.0]), reach=2)
    assert torch.equal(windows[0], tokens[:1].expand(5, 4))
    assert torch.equal(windows[1], tokens[-1:].expand(5, 4))
