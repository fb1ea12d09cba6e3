from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from omnisync_core.audio import SAMPLE_RATE, AudioEncoder
from omnisync_core.config import ModelConfig
from omnisync_core.errors import UserError
from omnisync_core.training import sounds, voice
from omnisync_core.training.sounds import IGNORED, SoundPool, Utterance
from omnisync_core.training.tts import Phone
from omnisync_core.training.visemes import ARTICULATORS, VISEME_NAMES
from omnisync_core.training.voice import (
    GRID_LANDMARKS,
    VoiceHeads,
    from_phones,
    lip_measures,
    load_encoder,
    phones_of_words,
    teach_lips,
    token_times,
)


def _utterance(seconds: float = 1.0) -> Utterance:
    waveform = np.random.default_rng(0).normal(size=int(seconds * SAMPLE_RATE)) * 0.1
    phones = [Phone("p", 0.0, 0.1), Phone("a", 0.1, seconds)]
    return from_phones(waveform.astype(np.float32), phones)


def _labels(*, known: bool) -> dict[str, torch.Tensor]:
    unknown = torch.full((2, 5, len(ARTICULATORS)), float("nan"))
    return {
        "visemes": torch.full((2, 5), 3 if known else IGNORED),
        "articulators": torch.zeros_like(unknown) if known else unknown,
        "lips": torch.zeros(2, 5, 2) if known else unknown[..., :2],
    }


@pytest.mark.parametrize("samples", [1, 320, 321, 16_000])
def test_labels_have_as_many_tokens_as_the_encoder_makes(tiny: ModelConfig, samples: int) -> None:
    assert len(token_times(samples)) == len(AudioEncoder(tiny).encode(torch.zeros(samples)))


def test_labels_of_phones_leave_the_lips_unknown() -> None:
    one = _utterance()
    assert [VISEME_NAMES[i] for i in one.visemes[[2, 20]]] == ["pbm", "ah"]
    assert one.articulators.shape == (50, 8) and np.isnan(one.lips).all()


def test_phones_of_words_fill_the_measured_times(monkeypatch: pytest.MonkeyPatch) -> None:
    read = [Phone("", 0, 0.3), Phone("m", 0.3, 0.4), Phone("a", 0.4, 0.7), Phone("", 0.7, 1)]
    monkeypatch.setattr(voice, "synthesise", lambda word: (np.zeros(1), read))
    phones = phones_of_words([(0.0, 0.5, "sil"), (0.5, 1.3, "ma"), (1.3, 1.5, "sil")])
    assert [phone.symbol for phone in phones] == ["", "m", "a", ""]
    assert [phone.start for phone in phones] == pytest.approx([0, 0.5, 0.7, 1.3])
    assert phones[2].stop == pytest.approx(1.3)


def test_lip_measures_do_not_depend_on_the_size_of_the_face() -> None:
    points = np.random.default_rng(0).uniform(0, 60, (6, 96, 2))
    small, large = (lip_measures((32 * scale * points).astype(np.int32)) for scale in (1, 4))
    np.testing.assert_allclose(small, large, atol=0.1)


def test_lip_measures_see_the_inner_lips_part() -> None:
    points = np.random.default_rng(0).uniform(0, 60, (2, 96, 2))
    points[1] = points[0]
    upper, lower = GRID_LANDMARKS.index(13), GRID_LANDMARKS.index(14)
    points[0, lower] = points[0, upper]
    points[1, lower] = points[0, upper] + (0, 5)
    opening = lip_measures((32 * points).astype(np.int32))[:, 0]
    assert opening[0] == pytest.approx(0, abs=0.02) and opening[1] > 0.3


def test_unknown_labels_teach_nothing() -> None:
    tokens = torch.randn(2, 5, 16, requires_grad=True)
    loss = VoiceHeads(16).loss(tokens, _labels(known=False))
    loss.backward()
    assert loss == 0 and tokens.grad is not None and not tokens.grad.any()


def test_half_unknown_labels_weigh_as_the_known_half() -> None:
    torch.manual_seed(0)
    heads, tokens, known = VoiceHeads(16), torch.randn(2, 5, 16), _labels(known=True)
    half = {name: value.clone() for name, value in known.items()}
    for name, value in _labels(known=False).items():
        half[name][1] = value[1]
    first = {name: value[:1] for name, value in known.items()}
    torch.testing.assert_close(heads.loss(tokens, half), heads.loss(tokens[:1], first))


def _draw(one: Utterance, *, size: int, tokens: int) -> dict[str, torch.Tensor]:
    return SoundPool([one]).draw(size, tokens, torch.Generator().manual_seed(0))


def test_a_batch_is_padded_with_rest_and_aligned_with_its_sound() -> None:
    batch = _draw(_utterance(0.6), size=8, tokens=60)
    assert batch["waveform"].shape == batch["babble"].shape == (8, 19_200)
    for sound, classes in zip(batch["waveform"], batch["visemes"], strict=True):
        silent = sound.unflatten(0, (60, 320)).abs().amax(1) == 0
        assert silent.any() and not silent.all()
        # Labels are those of a token's middle: the tokens at both ends of the sound may differ.
        assert ((classes == 0) != silent).sum() <= 2


def test_the_heads_learn_the_labels_of_one_sound(tiny: ModelConfig) -> None:
    torch.manual_seed(0)
    encoder, heads = AudioEncoder(tiny), VoiceHeads(tiny.audio_width)
    optimiser = torch.optim.Adam([*encoder.parameters(), *heads.parameters()], 3e-3)
    batch = _draw(_utterance(), size=2, tokens=20)
    losses = []
    for _ in range(12):
        mel = voice.log_mel(batch["waveform"])[:, :40]
        loss = heads.loss(encoder(mel), batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def _known(seed: int) -> Utterance:
    """A sound whose articulators are known, and lips that follow them by a rule."""
    rng = np.random.default_rng(seed)
    one = _utterance()
    one.articulators = rng.uniform(size=one.articulators.shape).astype(np.float32)
    one.lips = (one.articulators[:, :2] * (2, -1) + 0.5).astype(np.float32)
    return one


def test_lips_that_nobody_measured_are_read_off_the_articulators() -> None:
    real, said = [_known(0), _known(1)], _known(2)
    truth, said.lips = said.lips, np.full_like(said.lips, np.nan)
    unheard = _utterance()
    unheard.articulators[:] = np.nan  # lips without words teach nothing about phones
    teach_lips([said], [*real, unheard])
    np.testing.assert_allclose(said.lips, truth, atol=1e-3)


@pytest.mark.parametrize("speed", [0.8, 1.25])
def test_speed_moves_the_sound_and_its_labels_together(
    speed: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sounds, "_SPEEDS", (np.log(speed),) * 2)
    monkeypatch.setattr(sounds, "_SPED_SHARE", 1.0)
    one = _utterance(2.0)
    one.waveform[:] = 0
    one.waveform[16_000:17_600] = 1  # half the sound on: 1 to 1.1 s
    one.visemes[50:55] = 7
    batch = _draw(one, size=20, tokens=150)
    for waveform, classes in zip(batch["waveform"], batch["visemes"], strict=True):
        heard = waveform.gt(0.5).nonzero()[[0, -1], 0] / SAMPLE_RATE
        seen = classes.eq(7).nonzero()[[0, -1], 0] / 50
        assert heard[1] - heard[0] == pytest.approx(0.1 / speed, abs=0.002)
        torch.testing.assert_close(seen, heard, atol=0.021, rtol=0)


def test_another_voice_babbles_all_the_time() -> None:
    one = _utterance(0.5)
    one.waveform[:] = 1
    assert _draw(one, size=4, tokens=100)["babble"].eq(1).all()


def _train(tmp_path: Path, config: ModelConfig, monkeypatch: pytest.MonkeyPatch, **more) -> dict:
    """Six steps on a clock that ticks ten seconds for each; the weights."""
    now = iter(range(100))
    monkeypatch.setattr(voice, "preset", lambda name: config)
    monkeypatch.setattr(voice.time, "monotonic", lambda: 10.0 * next(now))
    tmp_path.mkdir(exist_ok=True)
    real = _utterance()
    real.lips = real.articulators[:, :2]
    voice.train([_utterance()], [real], tmp_path, minutes=1.0, **more)
    return load_file(tmp_path / "voice.safetensors")


def test_an_encoder_that_learnt_before_waits_for_its_heads_and_then_learns_on(
    tmp_path: Path, tiny: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(1)
    before = {f"encoder.{k}": v for k, v in AudioEncoder(tiny).state_dict().items()}
    save_file(before, tmp_path / "start.safetensors")
    start = tmp_path / "start.safetensors"
    with monkeypatch.context() as patch:
        patch.setattr(voice, "_WARM_UP", 1.0)
        waiting = _train(tmp_path / "a", tiny, patch, start=start)
    assert all(torch.equal(waiting[k], v) for k, v in before.items())
    learnt = _train(tmp_path / "b", tiny, monkeypatch, start=start)
    moved = max((learnt[k] - v).abs().max().item() for k, v in before.items())
    assert 0 < moved < 0.01


def test_weights_of_another_size_do_not_start_a_training(
    tmp_path: Path, tiny: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file({"encoder.norm.weight": torch.ones(7)}, tmp_path / "voice.safetensors")
    monkeypatch.setattr(voice, "preset", lambda name: tiny)
    with pytest.raises(UserError, match="voice encoder of 'mini'"):
        load_encoder(tmp_path / "voice.safetensors", "mini")
