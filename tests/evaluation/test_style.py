"""Style consistency on textures."""

import cv2
import numpy as np
import pytest

from omnisync_core.evaluation.style import consistency, grams

NOISE = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3)).astype(np.uint8)


def test_the_same_picture_is_of_the_same_style():
    assert consistency(grams(NOISE), grams(NOISE)) == pytest.approx(1)


def test_a_shift_keeps_the_style_and_blur_loses_it():
    own = grams(NOISE)
    moved = grams(np.roll(NOISE, 20, 2))
    soft = grams(np.stack([cv2.GaussianBlur(one, (0, 0), 2) for one in NOISE]))
    assert consistency(moved, own) > 0.9 > consistency(soft, own)
