"""The voice encoder learns to hear through noise, and keeps its tokens."""

import itertools
import sys
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from media_files import make_voice

from omnisync_core.audio import AudioEncoder
from omnisync_core.checkpoint import load_model, notes_of
from omnisync_core.config import ModelConfig
from omnisync_core.errors import UserError
from omnisync_core.training import denoise, locator
from omnisync_core.training.denoise import Sounds, loss_of, read_recordings, read_sounds
from omnisync_core.training.tts import Phone
from omnisync_core.training.voice import HELD_OUT_VARIANTS, OTHER_VARIANTS, VARIANTS


@pytest.fixture(scope="module")
def sounds() -> Sounds:
    rng = np.random.default_rng(0)
    times = np.arange(80_000) / 16_000
    tones = [np.sin(2 * np.pi * pitch * times) * np.sin(9 * times) for pitch in (110, 170, 230)]
    noise = [0.02 * rng.standard_normal(len(times)) for _ in tones]
    pairs = zip(tones, noise, strict=True)
    made = [(0.2 * tone + hiss).astype(np.float32) for tone, hiss in pairs]
    return Sounds([(one, one) for one in made])


@pytest.fixture
def teacher() -> AudioEncoder:
    torch.manual_seed(0)
    config = ModelConfig(audio_width=24, audio_depth=1, audio_heads=2)
    return AudioEncoder(config).eval().requires_grad_(False)


def test_some_stretches_are_clean_and_in_some_nobody_speaks(sounds: Sounds) -> None:
    said, heard = sounds.draw(200, torch.Generator().manual_seed(0))
    assert said.shape == heard.shape == (200, 64_000) and heard.isfinite().all()
    nobody, clean = ~said.any(1), (said == heard).all(1)
    assert 15 < nobody.sum() < 50 and 20 < clean.sum() < 65
    assert heard[nobody & ~clean].any(1).all()


def test_what_is_heard_well_costs_nothing(sounds: Sounds, teacher: AudioEncoder) -> None:
    said, _ = sounds.draw(4, torch.Generator().manual_seed(1))
    assert float(loss_of(deepcopy(teacher), teacher, said, said)) == 0


def test_an_encoder_learns_to_hear_through_noise(
    sounds: Sounds, teacher: AudioEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count()
    monkeypatch.setattr(locator.time, "process_time", lambda: 60 * next(clock))
    monkeypatch.setattr(denoise, "_RATE", 5e-3)
    learnt = denoise.train(teacher, sounds, tmp_path, minutes=80)
    said, heard = sounds.draw(24, torch.Generator().manual_seed(9))
    before, after = (float(loss_of(one, teacher, said, heard)) for one in (teacher, learnt))
    assert after < 0.9 * before


def test_another_voice_is_heard_at_the_same_place() -> None:
    said = [np.random.default_rng(i).normal(size=90_000).astype(np.float32) for i in range(3)]
    sounds = Sounds([(one, -0.5 * one) for one in said])
    one, other = sounds.draw(100, torch.Generator().manual_seed(0))
    same = (other == -0.5 * one).all(1) & one.any(1)
    assert 10 < same.sum() < 60  # those without noise


def _clicks(rng: np.random.Generator, *, variants=()) -> tuple[np.ndarray, list[Phone]]:
    """A click where each of three phones begins, elsewhere by another voice; at times the other
    one says something else."""
    symbols = "aba"
    if variants == OTHER_VARIANTS and rng.random() < 0.3:
        symbols = "aca"
    starts = (0.2, 0.8, 1.1) if variants == OTHER_VARIANTS else (0.1, 0.5, 1.4)
    sound = np.zeros(32_000, np.float32)
    for start in starts:
        sound[int(16_000 * start) - 80 : int(16_000 * start) + 80] = 1
    stops = (*starts[1:], 2.0)
    return sound, [Phone(*each) for each in zip(symbols, starts, stops, strict=True)]


def test_the_same_sentence_by_two_voices_runs_by_one_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denoise, "synthesise_utterance", _clicks)
    pairs = denoise.two_voices(40)
    assert 15 < len(pairs) < 40  # others say something else
    for said, heard in pairs:
        assert said.shape == heard.shape and said.dtype == heard.dtype == np.float32
        for start in (1600, 8000, 22400):
            assert heard[start - 20 : start + 20].min() > 0.9
        assert not heard[3000:7000].any() and not heard[9000:21000].any()


def _folder(tmp_path: Path) -> Path:
    tone = np.sin(np.arange(70_000) / 20)
    np.savez(tmp_path / "sounds_a.npz", one=np.round(tone * 9000).astype(np.int16))
    return tmp_path


def test_a_run_leaves_a_whole_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, weights = tmp_path / "out", Path(denoise.__file__).parents[1] / "weights/mini.safetensors"
    words = ["denoise", str(weights), str(_folder(tmp_path)), str(out), "--minutes", "0"]
    monkeypatch.setattr(sys, "argv", words)
    denoise.main()
    made, before = load_model(out / "model.safetensors"), load_model(weights)
    for name, value in before.state_dict().items():
        assert torch.equal(made.state_dict()[name], value)
    assert notes_of(out / "model.safetensors") == notes_of(weights) != {}


def test_recordings_come_in_pieces_and_their_lack_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="recordings"):
        read_recordings(tmp_path)
    make_voice(tmp_path / "voice.wav", seconds=20)
    read = read_recordings(tmp_path)
    assert len(read) == 2 and sum(map(len, read)) == pytest.approx(20 * 16_000, abs=40)
    assert all(0 < abs(part).max() <= 1 for part in read)


def test_sounds_are_read_in_full_range_and_their_lack_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="omnisync prepare"):
        read_sounds(tmp_path)
    (sound,) = read_sounds(_folder(tmp_path))
    assert sound.shape == (70_000,) and sound.max() == pytest.approx(9000 / 32767)


def test_no_voice_is_both_learnt_and_held_out() -> None:
    assert len({*VARIANTS, *OTHER_VARIANTS}) == len(VARIANTS) + len(OTHER_VARIANTS)
    assert not {*VARIANTS, *OTHER_VARIANTS} & {*HELD_OUT_VARIANTS}
