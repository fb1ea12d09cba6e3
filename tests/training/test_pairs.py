from pathlib import Path

import numpy as np
import pytest
import torch

from omnisync_core.audio import frame_windows
from omnisync_core.training import pairs
from omnisync_core.training.pairs import PackedClip, Pools, RenderedClip, Voice, load_rendered

SIZE = 32


def _voice(tokens: int = 60) -> Voice:
    return Voice(np.random.default_rng(0).normal(size=(2, tokens, 8)).astype(np.float32))


def _rendered(frames: int = 6) -> RenderedClip:
    """A black clip whose mouth is a white spot that wanders to the right."""
    pictures = np.zeros((frames, SIZE, SIZE, 3), np.uint8)
    mouth = np.stack([8.0 + np.arange(frames), np.full(frames, 20.0)], axis=1)
    for picture, (x, y) in zip(pictures, mouth, strict=True):
        picture[int(y) - 1 : int(y) + 1, int(x) - 1 : int(x) + 1] = 255
    return RenderedClip(pictures, pictures.copy(), mouth, _voice(), 0.1)


def _pools(*, rendered: list[RenderedClip] | None = None, real: list | None = None) -> Pools:
    return Pools(rendered=rendered or [], real=real or [], size=SIZE, reach=2)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_a_voice_is_windowed_as_the_product_does_it() -> None:
    voice, times = _voice(), np.array([-0.1, 0.013, 0.5, 9.0])
    expected = frame_windows(torch.from_numpy(voice.tokens[1]), torch.from_numpy(times), reach=3)
    np.testing.assert_allclose(voice.windows(times, reach=3, take=1), expected.numpy(), atol=1e-5)


@pytest.mark.parametrize("frames", [1, 4])
def test_a_window_has_the_shapes_that_training_stacks(
    packed_clip: PackedClip, frames: int, rng: np.random.Generator
) -> None:
    for pools in (_pools(rendered=[_rendered()]), _pools(real=[(packed_clip, _voice())])):
        window = pools.draw(0.5, frames, rng)
        assert window.source.shape == window.target.shape == (frames, SIZE, SIZE, 3)
        assert window.source.dtype == np.uint8 and window.mouth.shape == (frames, 2)
        assert window.windows.shape == (frames, 5, 8) and window.summary.shape == (8,)


def test_windows_start_everywhere_and_never_run_over_the_end(rng: np.random.Generator) -> None:
    pools = _pools(rendered=[_rendered(4)])
    assert all(len(pools.draw(0.5, 4, rng).source) == 4 for _ in range(5))


def test_above_the_switch_only_aligned_pairs_are_drawn(
    packed_clip: PackedClip, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    made: list[str] = []
    for name in ("transplant", "other_moment"):
        make = getattr(pairs, name)
        spy = lambda *a, name=name, make=make: made.append(name) or make(*a)  # noqa: E731
        monkeypatch.setattr(pairs, name, spy)
    pools = _pools(real=[(packed_clip, _voice())])
    for _ in range(30):
        pools.draw(0.851, 1, rng)
    assert set(made) == {"transplant"}
    for _ in range(30):
        pools.draw(0.849, 1, rng)
    assert set(made) == {"transplant", "other_moment"}


def test_aligned_pairs_agree_outside_the_mouth_and_others_need_not(
    packed_clip: PackedClip, rng: np.random.Generator
) -> None:
    # The second half of the clip lies a little to the right, unknown to its landmarks.
    packed_clip.crops[6:] = np.roll(packed_clip.crops[6:], 3, axis=2)
    pools = _pools(real=[(packed_clip, _voice())])
    top = np.s_[:, : SIZE // 16]

    def change(t: float) -> float:
        drawn = [pools.draw(t, 2, rng) for _ in range(20)]
        return max(np.abs(w.source[top].astype(int) - w.target[top]).max() for w in drawn)

    assert change(0.9) <= 2 and change(0.3) > 8


def test_source_and_target_differ_at_the_mouth(
    packed_clip: PackedClip, rng: np.random.Generator
) -> None:
    pools = _pools(real=[(packed_clip, _voice())])
    drawn = [pools.draw(0.9, 1, rng) for _ in range(20)]
    changes = [np.abs(w.source.astype(int) - w.target).max() for w in drawn]
    assert np.median(changes) > 30


def test_the_mouth_coordinate_follows_the_picture_through_mirroring(
    rng: np.random.Generator,
) -> None:
    pools = _pools(rendered=[_rendered()])
    sides = set()
    for _ in range(30):
        window = pools.draw(0.5, 1, rng)
        y, x = np.argwhere(window.target[0].sum(-1) > 0.6 * window.target[0].sum(-1).max()).mean(0)
        assert window.mouth[0] == pytest.approx((x + 0.5, y + 0.5), abs=1)
        sides.add(window.mouth[0, 0] > SIZE / 2)
    assert sides == {False, True}


def test_source_and_target_are_recoloured_alike(rng: np.random.Generator) -> None:
    pools = _pools(rendered=[_rendered()])  # source and target are the same picture here
    for _ in range(10):
        window = pools.draw(0.5, 2, rng)
        assert np.array_equal(window.source, window.target)


def test_the_share_of_real_windows_is_kept(
    packed_clip: PackedClip, rng: np.random.Generator
) -> None:
    pools = _pools(rendered=[_rendered()], real=[(packed_clip, _voice(61))])
    pools.real_share = 0.25
    real = [len(pools.draw(0.5, 1, rng).tokens) == 61 for _ in range(300)]
    assert 0.17 < np.mean(real) < 0.33


def test_the_same_seed_draws_the_same_windows(packed_clip: PackedClip) -> None:
    first, again, other = (
        _pools(rendered=[_rendered()], real=[(packed_clip, _voice())]).draw(
            0.5, 2, np.random.default_rng(seed)
        )
        for seed in (3, 3, 4)
    )
    assert np.array_equal(first.target, again.target)
    assert not np.array_equal(first.target, other.target)


def test_shards_come_back_with_their_voices(tmp_path: Path) -> None:
    clip = _rendered()
    np.savez(
        tmp_path / "rendered_001.npz",
        source=clip.source[None],
        target=clip.target[None],
        mouth=clip.mouth[None],
        start=np.array([clip.start]),
        voice=np.array(["tts_1_0"]),
    )
    (back,) = load_rendered(tmp_path, {"tts_1_0": clip.voice})
    assert np.array_equal(back.target, clip.target) and back.voice is clip.voice
    assert back.start == clip.start
