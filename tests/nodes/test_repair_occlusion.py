import pytest
import torch


@pytest.fixture
def edited(images):
    """An edit of 10 x 10 pixels in the first three of six frames."""
    result = images.clone()
    result[:3, 10:20, 10:20] = 1 - result[:3, 10:20, 10:20]
    return result


def test_the_source_comes_back_where_the_mask_is_white(nodes, images, edited):
    mask = torch.zeros(6, 40, 48)
    mask[:, :, :15] = 1
    result, ratio, found, ratios, picture = nodes.OcclusionRepair().repair(
        images, edited, mask=mask
    )
    assert torch.equal(found, mask) and len(ratios) == 6 and picture.shape[0] == 1
    assert torch.equal(result[:, :, :15], images[:, :, :15])
    assert torch.equal(result[:, :, 20:], edited[:, :, 20:])
    assert ratio == pytest.approx(0.5)


def test_one_mask_serves_all_frames(nodes, images, edited):
    mask = torch.ones(40, 48)
    result, ratio, *_ = nodes.OcclusionRepair().repair(images, edited, mask=mask, softness=0)
    assert torch.equal(result, images) and ratio == 1.0


def test_without_a_mask_and_without_a_face_the_edit_passes(nodes, images, edited):
    result, ratio, mask, ratios, _ = nodes.OcclusionRepair().repair(images, edited)
    assert torch.equal(result, edited) and ratio == 0.0
    assert not mask.any() and ratios == [0.0] * 6


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (
            {"edited": torch.zeros(5, 40, 48, 3)},
            r"edited: .*\(6, 40, 48, 3\), got \(5, 40, 48, 3\)",
        ),
        ({"source": None}, "source: expected an IMAGE batch"),
        ({"mask": torch.zeros(1, 64, 64)}, r"mask: .* 40 x 48 .* got \(1, 64, 64\)"),
        ({"mask": torch.zeros(4, 40, 48)}, "mask: .* 6 frames .* got 4"),
    ],
)
def test_parts_that_do_not_fit_are_refused(nodes, images, edited, fields, told):
    with pytest.raises(ValueError, match=f"^OmniSync Occlusion Repair: {told}"):
        nodes.OcclusionRepair().repair(**{"source": images, "edited": edited, **fields})
