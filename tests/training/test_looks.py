"""The ten manners of drawing: their number, and that each is a manner of its own."""

from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest

import omnisync_core
from omnisync_core.media import read_frames
from omnisync_core.training.looks import FILTERS, stylise


@pytest.fixture(scope="module")
def face() -> np.ndarray:
    """The demo character's first frame, uint8 [1, 256, 256, 3]."""
    demo = Path(omnisync_core.__file__).parent / "demo" / "character.mp4"
    frame = next(iter(read_frames(demo)))
    return cv2.resize(frame, (256, 256), interpolation=cv2.INTER_AREA)[None]


def test_there_are_ten_and_no_two_draw_alike(face: np.ndarray) -> None:
    assert len(FILTERS) == 10
    drawn = {name: stylise(face, name, 0.5).astype(int) for name in FILTERS}
    for a, b in combinations(drawn, 2):
        assert np.abs(drawn[a] - drawn[b]).mean() > 10, (a, b)


def test_anime_is_flatter_than_its_model(face: np.ndarray) -> None:
    def even(picture: np.ndarray) -> float:
        """Share of neighbours of the same brightness, within two levels."""
        return float((np.abs(np.diff(picture.max(-1).astype(int))) <= 2).mean())

    assert even(stylise(face, "anime", 0.5)) > even(face) + 0.05


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_an_engraving_is_two_colours_and_darker_where_its_model_is(
    face: np.ndarray, strength: float
) -> None:
    drawn = stylise(face, "engraving", strength)[0].astype(int)
    paper, ink = np.array([245, 235, 204]), np.array([26, 31, 61])
    share = (paper - drawn) @ (paper - ink) / ((paper - ink) @ (paper - ink))
    assert np.abs(paper + share[..., None] * (ink - paper) - drawn).max() < 2
    darkness, model = (cv2.blur(x.astype(np.float32), (25, 25)) for x in (share, face[0].mean(-1)))
    assert np.corrcoef(darkness.ravel(), model.ravel())[0, 1] < -0.8
