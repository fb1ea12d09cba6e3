"""Where the mouth is, told by other nodes: MASK, BOUNDING_BOX, FACE_LANDMARKS."""

import numpy as np
import pytest
import torch

FORM = {"steps": 1, "guidance": 1.0, "seed": 0}


def changed(result, images) -> torch.Tensor:
    """Rows and columns [top, bottom, left, right] that an edit touched."""
    rows, columns = ((result != images).any(-1).any(0).any(axis).nonzero() for axis in (1, 0))
    return [int(v) for v in (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1)]


def run(nodes, tiny, images, audio, **more):
    return nodes.LipSync().sync(audio, images=images, model=tiny, **FORM, **more)[1]


def face(x: float, y: float) -> dict:
    """A face as the host's landmark node gives it: eyes 8 apart, lips 8 below; the crop is 14."""
    marks = [(x - 4, y - 8), (x - 4, y - 8), (x + 4, y - 8), (x + 4, y - 8), (x - 2, y), (x + 2, y)]
    return {"landmarks_xy": np.array(marks), "bbox_xyxy": (x - 8, y - 12, x + 8, y + 6)}


SETS = {
    "left_eye": frozenset({(0, 1)}),
    "right_eye": frozenset({(2, 3)}),
    "lips": frozenset({(4, 5)}),
}


def landmarks(*frames) -> dict:
    return {"frames": list(frames), "image_size": (40, 48), "connection_sets": SETS}


def test_a_mask_is_the_region(nodes, tiny, images, audio):
    mask = torch.zeros(1, 40, 48)
    mask[:, 10:26, 12:28] = 1
    by_mask = run(nodes, tiny, images, audio, mouth=mask)
    by_hand = run(nodes, tiny, images, audio, region="12,10,16,16")
    assert torch.equal(by_mask, by_hand) and not torch.equal(by_mask, images)


def test_a_black_mask_leaves_its_frames_alone(nodes, tiny, images, audio):
    mask = torch.zeros(6, 40, 48)
    mask[:3, 10:26, 12:28] = 1
    result = run(nodes, tiny, images, audio, mouth=mask)
    assert torch.equal(result[3:], images[3:]) and not torch.equal(result[:3], images[:3])


@pytest.mark.parametrize("wrapped", [lambda b: b, lambda b: [b], lambda b: [[b]] * 6])
def test_a_box_in_any_of_the_hosts_shapes_is_the_region(nodes, tiny, images, audio, wrapped):
    box = {"x": 12, "y": 10, "width": 16, "height": 16}
    by_box = run(nodes, tiny, images, audio, mouth=wrapped(box))
    assert torch.equal(by_box, run(nodes, tiny, images, audio, region="12,10,16,16"))


def test_landmarks_choose_the_speaker(nodes, tiny, images, audio):
    two = landmarks(*[[face(12, 24), face(36, 24)]] * 6)
    left = changed(run(nodes, tiny, images, audio, mouth=two, speaker="left"), images)
    right = changed(run(nodes, tiny, images, audio, mouth=two, speaker="right"), images)
    near = changed(run(nodes, tiny, images, audio, mouth=two, speaker="35,20"), images)
    assert left[3] <= 20 and right[2] >= 28 and near == right


def test_two_speakers_by_chaining(nodes, tiny, images, audio):
    two = landmarks(*[[face(12, 24), face(36, 24)]] * 6)
    first = run(nodes, tiny, images, audio, mouth=two, speaker="left")
    both = run(nodes, tiny, first, audio, mouth=two, speaker="right")
    assert torch.equal(both[:, :, :24], first[:, :, :24])
    assert not torch.equal(both[:, :, 24:], images[:, :, 24:])


def test_a_detectors_face_box_is_narrowed_to_the_mouth(nodes, tiny, images, audio):
    box = {"x": 14, "y": 4, "width": 20, "height": 24, "label": "face", "score": 0.9}
    top, bottom, left, right = changed(run(nodes, tiny, images, audio, mouth=[[box]]), images)
    assert 14 <= top and bottom <= 30 and 16 <= left and right <= 32


def test_looped_images_keep_their_boxes(nodes, tiny, images, audio):
    mask = torch.zeros(6, 40, 48)
    mask[0, 10:26, 12:28] = 1
    form = {**FORM, "length": "loop", "fps": 40.0, "mouth": mask}
    _, result, report = nodes.LipSync().sync(audio, images=images, model=tiny, **form)
    assert len(result) == 10 and report.startswith("10 frames, 2 edited")


def test_a_video_and_flow_init_take_it_too(nodes, tiny, images, audio, clip):
    mask = torch.zeros(40, 48)
    mask[10:26, 12:28] = 1
    video, _, report = nodes.LipSync().sync(audio, video=str(clip), model=tiny, mouth=mask, **FORM)
    video.unlink()
    assert report == "6 frames, 6 edited"
    start, found = nodes.FlowInit().prepare(tiny, images, 0.9, 0, mouth=mask)
    assert found == 6 and start.tracking.track[0].side == pytest.approx(16)


@pytest.mark.parametrize(
    ("mouth", "told"),
    [
        (torch.zeros(1, 8, 8), r"expected a MASK of the clip's 40 x 48 .* got \(1, 8, 8\)"),
        (torch.zeros(2, 40, 48), "one for each of the 6 frames, got 2"),
        ({"x": 1, "y": 1, "width": 0, "height": 4}, "width and height above 0"),
        ([[{"x": 1}]], "expected a BOUNDING_BOX"),
        (landmarks([]) | {"image_size": (10, 10)}, r"of 40 x 48 pixels, got \(10, 10\)"),
        ("here", "expected a MASK, a BOUNDING_BOX or FACE_LANDMARKS, got str"),
        ([], "got list"),
    ],
)
def test_what_is_no_place_is_refused(nodes, tiny, images, audio, fake_host, mouth, told):
    with pytest.raises(ValueError, match=f"(?s)^OmniSync Lip Sync: mouth: .*{told}"):
        run(nodes, tiny, images, audio, mouth=mouth)
    assert not list(fake_host.models.glob("temp/*"))
