from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from omnisync_core.audio import log_mel
from omnisync_core.errors import UserError
from omnisync_core.evaluation.judge import (
    FRAMES,
    MEL,
    SIDE,
    SyncJudge,
    judge_sync,
    load_judge,
    mel_around,
)
from omnisync_core.training.judge import Talk, auc, contrast, draw, examine, train

RATE, SECONDS = 16000, 3


def _talk(seed: int) -> tuple[Talk, np.ndarray]:
    """A dark mouth that opens as loud as the sound is, and that sound [n]."""
    rng = np.random.default_rng(seed)
    level = np.interp(np.arange(RATE * SECONDS) / RATE * 6, np.arange(19), rng.uniform(0, 1, 19))
    sound = (level * rng.normal(size=len(level)) * 0.2).astype(np.float32)
    mouths = np.full((SECONDS * 25, SIDE + 16, SIDE + 16), 150, np.uint8)
    for i, mouth in enumerate(mouths):
        half = round(14 * level[i * RATE // 25])
        mouth[34 - half : 34 + half, 20:44] = 30
    mel = log_mel(torch.from_numpy(sound)[None])[0].half()
    return Talk(mouths, mel, 0.0, seed % 2 == 0), sound


@pytest.fixture(scope="module")
def talks() -> list[tuple[Talk, np.ndarray]]:
    return [_talk(seed) for seed in range(12)]


@pytest.fixture(scope="module")
def taught(talks: list[tuple[Talk, np.ndarray]]) -> tuple[SyncJudge, list[float]]:
    """A judge after 90 small steps, and the loss at each."""
    torch.manual_seed(0)
    rng, judge = np.random.default_rng(0), SyncJudge()
    optimiser = torch.optim.AdamW(judge.parameters(), 2e-3)
    losses = []
    for _ in range(90):
        loss = contrast(judge, *draw([talk for talk, _ in talks[:8]], rng, 12))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return judge.eval(), losses


def test_one_pass_over_a_long_sound_hears_every_window_as_alone() -> None:
    judge, mel = SyncJudge().eval(), torch.randn(300, 80)
    together = judge.hear(mel_around(mel, -3, 20)[None])[0]
    alone = torch.cat([judge.hear(mel_around(mel, -3 + i, 1)[None])[0] for i in range(20)])
    assert together.shape == (20, 128)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


def test_a_window_of_sound_lies_around_its_frames_and_in_silence_outside() -> None:
    mel = torch.arange(400.0)[:, None].expand(400, 80)
    window = mel_around(mel, 10, 1)
    assert window.shape == (MEL, 80)
    # Eight frames from 0.4 s take the mel frames 40 to 71; four more on either side.
    assert window[0, 0] == 36 and window[-1, 0] == 75
    assert (mel_around(mel, -50, 1) < -2).all() and (mel_around(mel, 200, 1) < -2).all()


def test_the_loss_is_finite_with_its_gradients_and_falls(
    taught: tuple[SyncJudge, list[float]],
) -> None:
    judge, losses = taught
    assert np.isfinite(losses).all()
    assert all(torch.isfinite(p.grad).all() for p in judge.parameters() if p.grad is not None)
    assert judge.scale.grad is not None
    assert np.mean(losses[-5:]) < 0.85 * np.mean(losses[:5])


def test_lips_of_their_own_sound_are_told_from_others(
    talks: list[tuple[Talk, np.ndarray]], taught: tuple[SyncJudge, list[float]]
) -> None:
    figures = examine(taught[0], [talk for talk, _ in talks[8:]])  # none of them trained on
    assert figures["clip_auc_foreign"] > 0.9 and figures["clip_auc_shifted"] > 0.9
    assert figures["lag_within_1_frame"] > 0.7


@pytest.mark.parametrize("late", [-4, 0, 5])
def test_late_lips_have_a_positive_lag(
    talks: list[tuple[Talk, np.ndarray]], taught: tuple[SyncJudge, list[float]], late: int
) -> None:
    talk, sound = talks[9]
    mouths = np.roll(talk.mouths[:, 8 : 8 + SIDE, 8 : 8 + SIDE], late, axis=0)
    judged = judge_sync(taught[0], mouths, sound)
    assert abs(judged.lag - late) <= 1
    assert judged.curve.shape == (31,) and judged.confidence > 0.1


def test_training_writes_a_judge_that_loads(
    talks: list[tuple[Talk, np.ndarray]], tmp_path: Path
) -> None:
    judge = train([talk for talk, _ in talks[:4]], tmp_path, minutes=0.02).eval()
    back = load_judge(tmp_path / "judge.safetensors")
    assert load_file(tmp_path / "judge.safetensors")["scale"].dtype == torch.float16
    mouths = torch.randint(0, 255, (2, FRAMES, SIDE, SIDE), dtype=torch.uint8)
    assert (judge.see(mouths) - back.see(mouths)).abs().max() < 0.01  # half precision
    assert list(tmp_path.iterdir()) == [tmp_path / "judge.safetensors"]


def test_a_file_that_is_no_judge_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match="no sync judge"):
        load_judge(tmp_path / "other.safetensors")


def test_too_few_pictures_are_refused(talks: list[tuple[Talk, np.ndarray]]) -> None:
    with pytest.raises(ValueError, match="at least 8"):
        judge_sync(SyncJudge().eval(), talks[0][0].mouths[:4, :SIDE, :SIDE], talks[0][1])


def test_auc_counts_ties_as_half() -> None:
    assert auc(np.array([1.0, 2.0]), np.array([1.0, 0.0])) == 0.875
