"""Occlusion repair with a given mask: the occluder stays whole, the edit stays outside."""

import pytest
import torch

from omnisync_core.occlusion import occlusion_ratio, repair


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
