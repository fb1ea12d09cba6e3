import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from omnisync_core.training.heads import MOUTH, TEETH
from omnisync_core.training.render import (
    Head,
    HeadKit,
    Pose,
    Scene,
    Window,
    render,
    render_clip,
    render_pair_clip,
    render_portrait,
)

DATA = os.environ.get("OMNISYNC_DATA")
pytestmark = pytest.mark.skipif(
    not DATA or not (Path(DATA) / "facekit.npz").exists(),
    reason="OMNISYNC_DATA is unset or holds no facekit.npz",
)


@pytest.fixture(scope="module")
def kit() -> HeadKit:
    return HeadKit.load()


@pytest.fixture(scope="module")
def head(kit: HeadKit) -> Head:
    return Head(kit, np.random.default_rng(4))


def pair(kit: HeadKit, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    closed, wide = kit.weights(), kit.weights(jawOpen=0.6)
    return render_pair_clip(
        rng, Head(kit, rng), np.stack([closed] * 2), np.stack([closed, wide]), size=64
    )


def test_same_seed_gives_the_same_pair(kit: HeadKit) -> None:
    first, again, other = pair(kit, 3), pair(kit, 3), pair(kit, 4)
    assert (first["source"] == again["source"]).all()
    assert (first["target"] == again["target"]).all()
    assert (first["source"] != other["source"]).any()


def test_equal_expressions_give_equal_pictures_of_the_pair(kit: HeadKit) -> None:
    for seed in range(2):
        made = pair(kit, seed)
        assert (made["source"][0] == made["target"][0]).all()
        assert (made["source"][1] != made["target"][1]).any()


def test_the_source_read_along_the_flow_is_nearly_the_target(kit: HeadKit) -> None:
    """A steady picture's flow is zero; what an opening mouth moves is found where it was."""
    left = copied = 0.0
    for seed in range(3):
        made = pair(kit, seed)
        still, opened = made["flow"]
        assert np.nanmax(np.abs(still)) < 1e-3 and np.nanmax(np.abs(opened)) > 2
        known = np.isfinite(opened[..., 0])
        assert known.mean() > 0.8
        y, x = np.mgrid[:64, :64].astype(np.float32)
        way = np.nan_to_num(opened)
        moved = cv2.remap(made["source"][1], x + way[..., 0], y + way[..., 1], cv2.INTER_LINEAR)
        wanted = made["target"][1].astype(float)
        left += np.abs(moved - wanted)[known].mean()
        copied += np.abs(made["source"][1] - wanted)[known].mean()
    assert left < 0.8 * copied  # the rest: light changes, and small steps blur the grain


def test_a_pair_tells_landmarks_and_what_its_pixels_show(kit: HeadKit) -> None:
    made = pair(kit, 1)
    assert made["landmarks"].shape == (2, 68, 2) and made["labels"].shape == (2, 64, 64)
    inside = np.isin(made["labels"], (MOUTH, TEETH)).sum((1, 2))
    assert inside[1] > inside[0] + 20  # the second target is wide open
    lower = made["landmarks"][:, 66, 1] - made["landmarks"][:, 62, 1]
    assert lower[1] > lower[0] + 2


def test_mouth_lies_near_the_middle_of_the_crop(kit: HeadKit) -> None:
    for seed in range(3):
        assert (abs(pair(kit, seed)["mouth"] - 32) < 12).all()


def test_opening_grows_with_the_jaw(kit: HeadKit) -> None:
    opening = pair(kit, 1)["target_opening"]
    assert opening[1] > opening[0] + 0.05


def test_rolled_in_lips_are_not_open(kit: HeadKit, head: Head) -> None:
    scene, window = Scene(np.random.default_rng(1)), Window(-6, -4, 6, 72, 72)
    rolled = kit.weights(mouthRollLower=0.8, mouthRollUpper=0.8, mouthPress=0.6)
    picture = render(head, scene, rolled, pose=Pose(roll=0.2), window=window)
    assert picture.opening == 0


def inside_pixels(kit: HeadKit, seed: int, **weights: float) -> int:
    """Pixels of a 96-pixel crop that show the mouth's inside or teeth."""
    rng = np.random.default_rng(seed)
    head, scene = Head(kit, rng), Scene(rng)
    window = Window(-6, -3.5, 8, 96, 96)
    labels = render(head, scene, kit.weights(**weights), pose=Pose(), window=window).labels
    return int(np.isin(labels, (MOUTH, TEETH)).sum())


def test_pressed_lips_close_on_every_head(kit: HeadKit) -> None:
    pressed = {"mouthPress": 0.6, "mouthRollLower": 0.35, "mouthRollUpper": 0.3}
    assert all(inside_pixels(kit, seed, **pressed) <= 8 for seed in range(4))


def test_wide_jaw_shows_the_inside_of_the_mouth(kit: HeadKit) -> None:
    assert inside_pixels(kit, 0, jawOpen=0.6) > 200


def test_shadows_only_darken(kit: HeadKit, head: Head) -> None:
    scene, window = Scene(np.random.default_rng(6)), Window(-12, -14, 3, 72, 84)
    pictures = []
    for scene.shadow in (0.0, 1.0):
        pictures.append(render(head, scene, kit.weights(), pose=Pose(), window=window).linear)
    assert (pictures[1] <= pictures[0] + 1e-5).all()
    assert pictures[1].mean() < pictures[0].mean()


def test_wrong_number_of_weights_is_refused(head: Head) -> None:
    scene, window = Scene(np.random.default_rng(0)), Window(-6, -4, 4, 48, 48)
    with pytest.raises(ValueError, match="expected 57 expression weights"):
        render(head, scene, np.zeros(52), pose=Pose(), window=window)


def test_unequal_lengths_are_refused(kit: HeadKit, head: Head) -> None:
    with pytest.raises(ValueError, match="cut them to the same length"):
        render_pair_clip(
            np.random.default_rng(0), head, np.zeros((2, 57)), np.zeros((3, 57)), size=32
        )


def test_clip_yields_one_frame_per_expression_with_landmarks_inside(head: Head) -> None:
    scene = Scene(np.random.default_rng(1))
    frames = list(render_clip(head, scene, np.zeros((3, 57)), width=96, height=80))
    assert [frame.shape for frame, _ in frames] == [(80, 96, 3)] * 3
    assert all((picture.points > 0).all() for _, picture in frames)


def test_portrait_has_the_asked_size_and_shows_a_head(head: Head) -> None:
    picture, truth = render_portrait(
        np.random.default_rng(2), head, np.zeros(57), width=120, height=90
    )
    assert picture.shape == (90, 120, 3)
    assert truth.cover.max() == 1
    assert truth.cover.min() == 0


def test_weights_of_an_unknown_expression_are_refused(kit: HeadKit) -> None:
    with pytest.raises(ValueError, match="jawOpn"):
        kit.weights(jawOpn=0.5)


def test_yaw_turns_the_nose_to_the_right_of_the_picture(head: Head) -> None:
    scene, window = Scene(np.random.default_rng(0)), Window(-16, -16, 2, 64, 64)
    straight, turned = (
        render(head, scene, np.zeros(57), pose=Pose(yaw=yaw), window=window).points[30, 0]
        for yaw in (0.0, 0.4)
    )
    assert turned > straight + 2
