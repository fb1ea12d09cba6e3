import subprocess

import numpy as np
import pytest
import torch

from omnisync_core.audio import SAMPLE_RATE
from omnisync_core.errors import UserError
from omnisync_core.training import noise
from omnisync_core.training.noise import CODECS, augment, coded, music, squeeze


def _hum(seconds: float = 2.0) -> np.ndarray:
    """Like a voice: harmonics of a gliding pitch, in syllables."""
    times = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    phase = 2 * np.pi * np.cumsum(120 + 30 * np.sin(2 * times)) / SAMPLE_RATE
    tone = sum(np.sin(k * phase) / k for k in range(1, 12))
    return (0.2 * tone * np.sin(10 * times) ** 2).astype(np.float32)


def test_noise_keeps_length_and_range_and_repeats_with_its_seed() -> None:
    sounds = torch.randn(6, 8000, generator=torch.Generator().manual_seed(0)) * 0.1
    heard, again = (
        augment(sounds, sounds.flip(0), torch.Generator().manual_seed(5)) for _ in range(2)
    )
    assert heard.shape == sounds.shape and heard.abs().max() <= 1
    assert torch.equal(heard, again) and not torch.allclose(heard, sounds)


def test_noise_over_silence_stays_finite() -> None:
    heard = augment(torch.zeros(8, 8000), torch.zeros(8, 8000), torch.Generator().manual_seed(0))
    assert heard.isfinite().all()


def test_some_voices_are_heard_as_loud_as_what_disturbs_them_and_some_well() -> None:
    sounds = torch.from_numpy(_hum(1.0)).repeat(200, 1)
    heard = augment(sounds, torch.randn(200, 16_000), torch.Generator().manual_seed(0))
    heard, sounds = heard / heard.norm(dim=1, keepdim=True), sounds / sounds.norm(dim=1)[:, None]
    alike = (heard * sounds).sum(1).abs()
    assert alike.min() < 0.7 and alike.max() > 0.95


def test_a_telephone_line_leaves_eight_bits_of_a_voice() -> None:
    sound = torch.linspace(-1, 1, 10_001)
    heard = noise._companded(sound)
    assert len(heard.unique()) == 255
    assert (heard - sound).abs().max() < 0.025
    quiet = sound.abs() < 0.01  # the finer, the quieter
    assert (heard - sound)[quiet].abs().max() < 0.0005


@pytest.mark.parametrize("codec", CODECS)
def test_a_codec_changes_a_sound_and_does_not_delay_it(codec: str) -> None:
    sound = _hum()
    heard = coded(sound, codec, CODECS[codec][1][-1])
    assert heard.shape == sound.shape and heard.dtype == np.float32
    assert not np.array_equal(heard, sound)
    cross = [np.dot(heard[500:-500], sound[500 + k : len(sound) - 500 + k]) for k in (-80, 0, 80)]
    assert np.argmax(cross) == 1
    assert np.corrcoef(heard, sound)[0, 1] > 0.9


def test_a_coder_that_ffmpeg_lacks_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = subprocess.CompletedProcess([], 1, b"", b"Unknown encoder")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(UserError, match="mp3 at 16k: Unknown encoder"):
        coded(_hum(), "mp3", "16k")


def test_a_share_of_the_sounds_is_coded_and_the_rest_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise, "coded", lambda sound, codec, rate: -sound)
    sound, rng = _hum(0.1), np.random.default_rng(0)
    kept = [squeeze(sound, rng) is sound for _ in range(400)]
    assert 0.6 < np.mean(kept) < 0.8


@pytest.mark.parametrize("seed", range(6))
def test_music_has_unit_variance_and_repeats_with_its_seed(seed: int) -> None:
    first, again = (music(np.random.default_rng(seed), 32_000) for _ in range(2))
    assert np.array_equal(first, again) and first.dtype == np.float32
    assert first.shape == (32_000,) and first.std() == pytest.approx(1, abs=0.01)
