from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from omnisync_core.audio import frame_windows
from omnisync_core.training import pairs
from omnisync_core.training.looks import FILTERS, stylise
from omnisync_core.training.pairs import (
    Pools,
    RenderedClip,
    Voice,
    load_rendered,
    pack_flow,
    save_shard,
    unpack_flow,
)
from omnisync_core.training.real import PACKED, PackedClip

SIZE = 32


def _voice(tokens: int = 60) -> Voice:
    return Voice(np.random.default_rng(0).normal(size=(2, tokens, 8)).astype(np.float32))


def _rendered(frames: int = 6) -> RenderedClip:
    """A black clip whose mouth is a white spot that wanders to the right."""
    pictures = np.zeros((frames, SIZE, SIZE, 3), np.uint8)
    mouth = np.stack([8.0 + np.arange(frames), np.full(frames, 20.0)], axis=1)
    for picture, (x, y) in zip(pictures, mouth, strict=True):
        picture[int(y) - 1 : int(y) + 1, int(x) - 1 : int(x) + 1] = 255
    flow = np.zeros((frames, SIZE, SIZE, 2), np.float32)
    flow[..., 0] = np.arange(SIZE) / 4
    return RenderedClip(pictures, pictures.copy(), mouth, _voice(), 0.1, pack_flow(flow))


def _pools(*, rendered: list[RenderedClip] | None = None, real: list | None = None) -> Pools:
    return Pools(rendered=rendered or [], real=real or [], size=SIZE, reach=2, drawn=0, occluded=0)


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
        assert window.flow.shape == (frames, SIZE // 2, SIZE // 2, 2)


def test_a_packed_flow_is_right_to_an_eighth_of_a_pixel_and_keeps_what_is_hidden(rng) -> None:
    flow = rng.uniform(-30, 30, (2, 8, 8, 2)).astype(np.float32)
    flow[0, 2, 4] = np.nan
    found = unpack_flow(pack_flow(flow))
    assert np.isnan(found[0, 1, 2]).all() and np.isnan(found).sum() == 2
    np.testing.assert_allclose(found, flow[:, ::2, ::2], atol=0.126)


def test_the_flow_is_mirrored_with_the_pictures() -> None:
    pools = _pools(rendered=[_rendered()])
    windows = [pools.draw(0.5, 1, np.random.default_rng(seed)) for seed in range(20)]
    plain = unpack_flow(_rendered().flow[:1])
    for window in windows:
        mirrored = window.mouth[0, 0] > SIZE / 2
        expected = -plain[:, :, ::-1] if mirrored else plain
        np.testing.assert_allclose(window.flow[..., 0], expected[..., 0])
    assert {float(w.flow[0, 0, 0, 0]) for w in windows} == {0.0, -7.5}  # both were drawn


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


def test_the_other_moment_has_other_lips(packed_clip: PackedClip, rng: np.random.Generator) -> None:
    # Two thirds of the clip have the lips of the first frame.
    packed_clip.crops[4:] = packed_clip.crops[0]
    packed_clip.crops[1:4] = 255 - packed_clip.crops[0]
    chosen = [pairs._other_lips(packed_clip, 6, 1, rng) for _ in range(400)]
    assert np.mean([1 <= i < 4 for i in chosen]) > 0.37  # a quarter of all moments


def test_pairs_of_larger_packs_show_the_same_part(packed_clip: PackedClip) -> None:
    twice = np.stack([cv2.resize(crop, (2 * PACKED, 2 * PACKED)) for crop in packed_clip.crops])
    large = PackedClip("large", twice, packed_clip.landmarks * 2)
    small, other = (
        _pools(real=[(clip, _voice())]).draw(0.9, 1, np.random.default_rng(1))
        for clip in (packed_clip, large)
    )
    assert np.abs(small.target.astype(int) - other.target).mean() < 8
    np.testing.assert_allclose(small.mouth, other.mouth, atol=0.6)


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


def test_some_windows_are_in_low_light(rng: np.random.Generator) -> None:
    clip = _rendered()
    clip.source[:] = clip.target[:] = 255
    pools = _pools(rendered=[clip])
    light = np.array([pools.draw(0.5, 1, rng).source.mean() / 255 for _ in range(300)])
    assert 0.04 < np.mean(light < 0.4) < 0.2 and np.mean(light > 0.6) > 0.7


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
    save_shard(
        tmp_path / "rendered_001",
        {
            "source": clip.source[None],
            "target": clip.target[None],
            "mouth": clip.mouth[None],
            "flow": clip.flow[None],
            "start": np.array([clip.start]),
            "voice": np.array(["tts_1_0"]),
        },
    )
    (back,) = load_rendered(tmp_path, {"tts_1_0": clip.voice})
    assert np.array_equal(back.target, clip.target) and back.voice is clip.voice
    assert back.start == clip.start


def test_windows_are_drawn_in_styles_and_get_things_in_the_way(rng: np.random.Generator) -> None:
    clip = _rendered()
    still = replace(clip, target=clip.source)
    pools = Pools(rendered=[still], real=[], size=SIZE, reach=2, drawn=1, occluded=1)
    for _ in range(20):
        window = pools.draw(0.9, 2, rng)
        # The same pixels, drawn alike and behind the same thing, stay the same.
        assert np.array_equal(window.source, window.target)


@pytest.mark.parametrize("style", list(FILTERS))
def test_a_style_changes_a_picture_always_in_the_same_way(
    style: str, rng: np.random.Generator
) -> None:
    picture = cv2.resize(rng.integers(30, 220, (1, 9, 9, 3), np.uint8)[0], (64, 64))[None]
    drawn = stylise(picture, style, 0.5)
    assert drawn.dtype == np.uint8 and drawn.shape == picture.shape
    assert np.array_equal(drawn, stylise(picture, style, 0.5))
    assert np.abs(drawn.astype(int) - picture).mean() > 1
