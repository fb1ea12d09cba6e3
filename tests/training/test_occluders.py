"""Things drawn in front of a mouth."""

import numpy as np
import pytest

from omnisync_core.training.occluders import HELD_OUT, KINDS, draw_occluder

SIZE = 64
MOUTH = np.full((3, 2), 30.0)


@pytest.mark.parametrize("kind", KINDS + HELD_OUT)
def test_a_thing_covers_part_of_the_crop_with_soft_edges(kind: str) -> None:
    rng = np.random.default_rng(1)
    shares = []
    for _ in range(8):
        thing = draw_occluder(rng, MOUTH, SIZE, kind=kind)
        assert thing.pictures.shape == (3, SIZE, SIZE, 3) and thing.cover.shape == (3, SIZE, SIZE)
        assert 0 <= thing.cover.min() and thing.cover.max() <= 1
        shares.append(thing.cover.mean())
        soft = (thing.cover > 0.05) & (thing.cover < 0.95)
        assert soft.any() or not thing.cover.any()
    assert 0.005 < np.mean(shares) < 0.7


def test_frames_change_where_the_thing_is_and_nowhere_else() -> None:
    thing = draw_occluder(np.random.default_rng(2), MOUTH, SIZE, kind="hand")
    frames = np.random.default_rng(0).integers(0, 255, (3, SIZE, SIZE, 3), np.uint8)
    result = thing.over(frames)
    assert np.array_equal(result[thing.cover == 0], frames[thing.cover == 0])
    assert np.array_equal(result[thing.cover == 1], thing.pictures[thing.cover == 1])


def test_a_thing_keeps_its_colour_up_to_its_edge() -> None:
    thing = draw_occluder(np.random.default_rng(5), MOUTH, SIZE, kind="sheet")
    inside = thing.pictures[thing.cover > 0.99].mean(-1)
    edge = thing.pictures[(thing.cover > 0.1) & (thing.cover < 0.5)].mean(-1)
    assert np.median(edge) > 0.7 * np.median(inside)  # no dark rim


def test_a_tinted_thing_has_that_mean_colour_and_the_same_outline() -> None:
    thing = draw_occluder(np.random.default_rng(3), MOUTH, SIZE, kind="hand")
    colour = np.array([150.0, 110.0, 90.0])
    tinted = thing.tinted(colour)
    assert np.array_equal(tinted.cover, thing.cover)
    mean = tinted.pictures[thing.cover > 0.9].mean(0)
    assert np.abs(mean - colour).max() < 12
