import numpy as np
import pytest

from omnisync_core.region import standard_box
from omnisync_core.training.locator_people import (
    CUT,
    CUT_SIDE,
    GROUND,
    backgrounds,
    cut_out,
    matte,
    mesh_points,
)


def test_mesh_points_are_eyes_and_mouth() -> None:
    mesh = np.full((96, 2), 1000.0)
    mesh[[0, 10]] = [[40, 70], [60, 70]]  # 61, 291
    mesh[[25, 35]] = [[50, 74], [50, 66]]  # 14, 13
    mesh[76:80], mesh[80:84] = [30, 40], [70, 40]
    assert mesh_points(mesh).tolist() == [[30, 40], [70, 40], [50, 70]]


def test_a_cut_out_has_the_standard_crop_in_its_middle() -> None:
    points = np.array([[100.0, 80], [140, 84], [118, 130]])
    cut, moved = cut_out(np.zeros((200, 240, 4), np.uint8), points)
    box = standard_box(*moved)
    assert cut.shape == (CUT, CUT, 4)
    assert (box.cx, box.cy, box.side) == pytest.approx((CUT / 2, CUT / 2, CUT_SIDE), rel=1e-5)


def test_a_cut_out_moves_pixels_and_points_alike() -> None:
    y, x = np.indices((200, 240)) + 0.5
    points = np.array([[100.0, 80], [140, 84], [118, 130]])
    dot = np.exp(-((x - 118) ** 2 + (y - 130) ** 2) / 18)
    cut, moved = cut_out((dot[..., None] * np.full(4, 255)).astype(np.uint8), points)
    y, x = np.indices((CUT, CUT)) + 0.5
    weight = cut[..., 0] / cut[..., 0].sum()
    assert [(x * weight).sum(), (y * weight).sum()] == pytest.approx(moved[2].tolist(), abs=0.1)


def test_the_matte_is_the_person_before_the_wall() -> None:
    y, x = np.indices((144, 180))
    frame = np.full((144, 180, 3), [40, 120, 200], np.uint8) + (x[..., None] // 20).astype(np.uint8)
    person = ((x - 90) / 30) ** 2 + ((y - 70) / 40) ** 2 < 1
    frame[person] = [200, 150, 130]
    angle = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    oval = np.stack([90 + 20 * np.cos(angle), 70 + 28 * np.sin(angle)], 1)
    assert ((matte(frame, oval) > 127) ^ person).mean() < 0.02


def test_backgrounds_need_no_photographs_and_repeat_by_seed() -> None:
    bank = backgrounds([], count=4, seed=3)
    assert bank.shape == (4, GROUND, GROUND, 3)
    assert (bank == backgrounds([], count=4, seed=3)).all()
    assert not (bank == backgrounds([], count=4, seed=4)).all()
