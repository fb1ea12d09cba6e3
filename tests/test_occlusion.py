"""Occlusion repair with a given mask: the occluder stays whole, the edit stays outside."""

import numpy as np
import pytest
import torch

from omnisync_core.occlusion import (
    OccluderSearch,
    OcclusionWatch,
    complete,
    in_front,
    mouth_area,
    occluder_masks,
    occlusion_ratio,
    repair,
)
from omnisync_core.region import Box, Tracking


@pytest.fixture
def scene():
    """Source, edit, and a mask that covers the rows and columns 8 to 15."""
    generator = torch.Generator().manual_seed(0)
    source, edited = torch.rand(2, 2, 3, 24, 24, generator=generator) * 2 - 1
    mask = torch.zeros(2, 24, 24)
    mask[:, 8:16, 8:16] = 1
    return source, edited, mask


@pytest.mark.parametrize("softness", [0, 1, 3])
def test_the_occluder_keeps_its_source_pixels_bit_for_bit(scene, softness):
    source, edited, mask = scene
    result = repair(source, edited, mask, softness=softness)
    assert torch.equal(result[..., 8:16, 8:16], source[..., 8:16, 8:16])


@pytest.mark.parametrize("softness", [0, 1, 3])
def test_the_edit_is_untouched_beyond_the_soft_edge(scene, softness):
    source, edited, mask = scene
    result = repair(source, edited, mask, softness=softness)
    far = torch.ones(24, 24, dtype=torch.bool)
    far[8 - 2 * softness : 16 + 2 * softness, 8 - 2 * softness : 16 + 2 * softness] = False
    assert torch.equal(result[..., far], edited[..., far])


def test_the_edge_falls_off_outwards_without_a_step():
    mask = torch.zeros(1, 1, 40)
    mask[..., :15] = 1
    ramp = repair(torch.ones(1, 1, 1, 40), torch.zeros(1, 1, 1, 40), mask, softness=3)[0, 0, 0]
    steps = ramp[:-1] - ramp[1:]
    assert float(steps.min()) >= 0 and float(steps.max()) < 0.2


def test_a_mask_of_nothing_leaves_the_edit_and_of_everything_the_source(scene):
    source, edited, mask = scene
    assert torch.equal(repair(source, edited, torch.zeros_like(mask)), edited)
    assert torch.equal(repair(source, edited, torch.ones_like(mask)), source)


def test_the_ratio_is_the_covered_share_of_the_mouth(scene):
    mask = scene[2]
    mouth = torch.zeros(1, 24, 24)
    mouth[:, 12:20, 8:16] = 1
    assert torch.allclose(occlusion_ratio(mask, mouth), torch.tensor([0.5, 0.5]))


def test_without_a_mouth_nothing_is_covered(scene):
    mask = scene[2]
    assert torch.equal(occlusion_ratio(mask, torch.zeros_like(mask)), torch.zeros(2))


def test_shapes_that_do_not_belong_together_are_refused(scene):
    source, edited, mask = scene
    with pytest.raises(ValueError, match="expected source and edited frames"):
        repair(source, edited, mask[:1])
    with pytest.raises(ValueError, match="softness"):
        repair(source, edited, mask, softness=-1)


def test_a_moustache_taken_for_a_thing_is_dropped():
    moustache = torch.zeros(72, 72)
    moustache[20:25, 22:50] = 0.9
    assert float(occlusion_ratio(moustache[None], mouth_area(72))) > 0
    assert not in_front(moustache).any()


def test_teeth_taken_for_a_thing_are_dropped_and_what_comes_from_outside_stays_whole():
    rows, columns = mouth_area(72)[0].nonzero().T
    middle, left = int(rows.float().mean()), int(columns.min())
    teeth, finger = torch.zeros(72, 72), torch.zeros(72, 72)
    teeth[middle - 2 : middle + 3, left + 2 : left + 12] = 0.9
    finger[middle:, left + 15 : left + 21] = 0.9  # its tip lies in the mouth
    assert torch.equal(in_front(torch.maximum(teeth, finger)), finger)


class Drawn:
    """Finds what is drawn in pure green, and keeps what it was given beside each crop."""

    def __init__(self) -> None:
        self.beside: list[torch.Tensor | None] = []
        self.before: list[torch.Tensor | None] = []

    def find(
        self,
        crops: torch.Tensor,
        clear: torch.Tensor | None = None,
        before: torch.Tensor | None = None,
    ) -> torch.Tensor:
        self.beside.append(clear)
        self.before.append(before)
        return (crops[:, 1] - crops[:, 0] > 1.5).float()


def _face(shift: int = 0) -> torch.Tensor:
    """A crop [3 72 72] with some texture, moved to the right by whole pixels."""
    y, x = torch.meshgrid(torch.arange(72.0), torch.arange(72.0) - shift, indexing="ij")
    grey = 0.3 * torch.sin(x / 5) * torch.cos(y / 7) + 0.2 * torch.sin((x + 2 * y) / 11)
    return grey.expand(3, 72, 72).clone()


_NEAR = mouth_area(72, grown=1.6)[0] > 0
"""Where a mouth moves."""


def _covered(crop: torch.Tensor, share: float) -> torch.Tensor:
    """The same with a green bar over that share of the mouth's height, from below."""
    rows = mouth_area(72)[0].any(1).nonzero()[:, 0]
    covered = crop.clone()
    covered[:, round(float(rows[-1] + 1 - share * len(rows))) :] = -1.0
    covered[1, round(float(rows[-1] + 1 - share * len(rows))) :] = 1.0
    return covered


def test_things_are_looked_for_beside_the_last_clear_frame():
    finder = Drawn()
    search, faces = OccluderSearch(finder), [_face(shift) for shift in range(4)]
    search.look(_covered(faces[0], 0.5))
    for crop in (faces[1], _covered(faces[2], 0.5), faces[3]):
        search.look(crop)
    assert finder.beside[:2] == [None, None]
    for beside in finder.beside[2:]:
        assert beside is not None and torch.equal(beside[0], faces[1])
    assert search.clear is faces[3]
    shares = [None if one is None else float(one.mean()) > 0 for one in finder.before]
    assert shares == [None, True, False, True]


def test_no_clear_frame_outlives_its_shot():
    finder = Drawn()
    frames = [np.full((80, 80, 3), 90, np.uint8)] * 4
    tracking = Tracking([Box(40, 40, 60)] * 4, cuts=(2,))
    found = list(occluder_masks(frames, tracking, finder, size=72))
    assert [one is None for one in finder.beside] == [True, False, True, False]
    assert all(ratio == 0 and mask.shape == (80, 80) for mask, ratio in found)


def test_a_clear_face_is_left_alone():
    watch = OcclusionWatch(Drawn())
    view = watch.look(_face())
    assert (view.mode, view.ratio, view.keep) == ("clear", 0.0, None)


def test_a_little_in_the_way_is_kept_at_once_and_the_network_sees_what_it_hides():
    watch = OcclusionWatch(Drawn())
    watch.look(_face())
    view = watch.look(_covered(_face(2), 0.25))
    assert view.mode == "local" and view.keep is not None
    assert bool((view.keep[-20:] == 1).all()) and float(view.keep[: 72 // 4].max()) == 0
    assert float((view.source - _face(2))[:, _NEAR].abs().mean()) < 0.05
    assert torch.equal(view.source[:, 60:], _covered(_face(2), 0.25)[:, 60:])


def test_a_strand_before_the_mouth_is_kept():
    watch = OcclusionWatch(Drawn())
    watch.look(_face())
    strand = _face().clone()
    strand[:, :, 36] = -1.0
    strand[1, :, 36] = 1.0
    view = watch.look(strand)
    assert view.mode == "local" and view.keep is not None
    assert bool((view.keep[:, 36] == 1).all()) and 0 < view.ratio < 0.06


def test_under_a_little_in_the_way_nothing_comes_from_a_frame_that_does_not_fit():
    watch = OcclusionWatch(Drawn())
    watch.look(_face().flip(-1) * 0.5 + _face().flip(-2) * 0.5)
    crop = _covered(_face(), 0.25)
    view = watch.look(crop)
    assert view.mode == "local" and view.source is crop


def test_much_in_the_way_is_filled_from_the_last_clear_frame_moved_into_place():
    watch = OcclusionWatch(Drawn())
    watch.look(_face())
    for shift in (1, 2, 3, 3, 3, 3, 3, 3):
        view = watch.look(_covered(_face(shift), 0.6))
    assert view.mode == "complete"
    assert float((view.source - _face(3))[:, _NEAR].abs().mean()) < 0.05
    assert float((_covered(_face(3), 0.6) - _face(3))[:, _NEAR].abs().mean()) > 0.3


def test_the_visible_half_of_the_mouth_comes_from_the_same_frame_as_the_hidden_one():
    watch, mouth = OcclusionWatch(Drawn()), mouth_area(72)[0] > 0
    watch.look(_face())
    speaking = torch.where(mouth, -_face(), _face())  # other lips
    view = watch.look(_covered(speaking, 0.5))
    assert view.mode == "complete"
    assert float((view.source - _face())[:, mouth].abs().mean()) < 0.02


def test_a_thing_that_comes_all_at_once_is_completed_at_once():
    watch = OcclusionWatch(Drawn())
    for _ in range(5):
        watch.look(_face())
    assert watch.look(_covered(_face(), 0.5)).mode == "complete"


class HalfSure(Drawn):
    """Finds the same, less surely."""

    def find(self, crops, clear=None, before=None) -> torch.Tensor:
        return 0.6 * super().find(crops, clear, before)


def test_a_thing_half_surely_found_is_kept_whole_before_a_completed_face():
    watch = OcclusionWatch(HalfSure())
    watch.look(_face())
    view = watch.look(_covered(_face(), 0.8))
    assert view.mode == "complete" and view.keep is not None
    assert bool((view.keep[-20:] == 1).all()) and float(view.keep[:20].max()) == 0


def test_a_clear_frame_among_covered_ones_is_left_as_it_is():
    watch = OcclusionWatch(Drawn())
    watch.look(_face())
    for _ in range(4):
        watch.look(_covered(_face(), 0.6))
    face = _face(2)
    torch.testing.assert_close(watch.look(face).source, face, atol=1e-4, rtol=0)


def test_without_a_clear_frame_nothing_is_invented():
    watch = OcclusionWatch(Drawn())
    for _ in range(9):
        view = watch.look(_covered(_face(), 0.6))
    assert view.mode == "local" and view.keep is not None


def test_a_share_that_wavers_around_the_border_does_not_flicker():
    watch = OcclusionWatch(Drawn())
    watch.look(_face())
    shares = [0.6] * 8 + [0.32, 0.4] * 10
    modes = [watch.look(_covered(_face(), share)).mode for share in shares]
    assert modes[8:] == ["complete"] * 20


def test_a_crop_of_one_colour_is_filled_as_it_lies():
    crop, mask = torch.zeros(3, 72, 72), torch.zeros(72, 72)
    mask[35:] = 1
    filled = complete(crop, mask, torch.ones(3, 72, 72))
    assert bool((filled[:, 35:][:, _NEAR[35:]] == 1).all()) and not filled[:, 64:].any()
