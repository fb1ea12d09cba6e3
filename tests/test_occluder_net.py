"""The network that finds what covers a mouth, and the weights of it that ship."""

from importlib.resources import files

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from omnisync_core import occluder_net
from omnisync_core.composite import take_crop
from omnisync_core.media import read_frames
from omnisync_core.occluder_net import SIDE, OccluderNet, along_edges, thin_parts
from omnisync_core.occlusion import in_front, mouth_area, occlusion_ratio
from omnisync_core.pipeline import track_mouth
from omnisync_core.training.occluders import draw_occluder


@pytest.fixture(scope="module")
def shipped() -> OccluderNet:
    return OccluderNet.load()


@pytest.fixture(scope="module")
def face() -> np.ndarray:
    """A crop uint8 [144, 144, 3] of the demo's character, which training never saw."""
    clip = files("omnisync_core") / "demo" / "character.mp4"
    frames = list(read_frames(str(clip), stop=3))
    box = track_mouth(frames, np.arange(3) / 25).track[1]
    assert box is not None
    crop = take_crop(frames[1], box, SIDE)
    return ((crop.permute(1, 2, 0).numpy() + 1) * 127.5).round().astype(np.uint8)


def _crop(picture: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 127.5 - 1


def test_a_clear_face_is_clear(shipped, face):
    mask = in_front(shipped.find(_crop(face))[0])
    assert float(occlusion_ratio(mask[None], mouth_area(SIDE))) < 0.02


@pytest.mark.parametrize("kind", ["phone", "cup", "leaf"])
def test_things_never_trained_on_are_found(shipped, face, kind):
    rng = np.random.default_rng(0)
    both = either = 0
    for _ in range(6):
        thing = draw_occluder(rng, np.array([[72.0, 63.0]]), SIDE, kind=kind)
        found = in_front(shipped.find(_crop(thing.over(face[None])[0]))[0]).numpy() > 0.5
        true = thing.cover[0] > 0.5
        both, either = both + (found & true).sum(), either + (found | true).sum()
    assert both / either > 0.75


@pytest.mark.parametrize("kind", ["phone", "cup", "leaf", "finger"])
def test_beside_a_clear_crop_things_are_found_better(shipped, face, kind):
    rng, clear = np.random.default_rng(0), _crop(face)
    both, either = np.zeros(2), np.zeros(2)
    for _ in range(6):
        thing = draw_occluder(rng, np.array([[72.0, 63.0]]), SIDE, kind=kind)
        crop, true = _crop(thing.over(face[None])[0]), thing.cover[0] > 0.5
        for i, beside in enumerate((None, clear)):
            found = in_front(shipped.find(crop, beside)[0]).numpy() > 0.5
            both[i] += (found & true).sum()
            either[i] += (found | true).sum()
    alone, beside = both / either
    assert beside > 0.9 and beside > alone - 0.01


@pytest.mark.parametrize("side", [64, 144, 201])
def test_crops_of_any_side_are_taken(shipped, side):
    mask = shipped.find(torch.rand(2, 3, side, side) * 2 - 1)
    assert mask.shape == (2, side, side) and 0 <= float(mask.min()) <= float(mask.max()) <= 1


def _half_known() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A crop with a blue square, a mask that is sure of its upper half alone, and the true one."""
    rng = np.random.default_rng(0)
    picture = np.full((SIDE, SIDE, 3), (200, 150, 120)) + rng.normal(0, 6, (SIDE, SIDE, 3))
    picture[40:100, 30:90] = np.array([40, 60, 180]) + rng.normal(0, 6, (60, 60, 3))
    true, mask = torch.zeros(2, SIDE, SIDE)
    true[40:100, 30:90] = 1
    mask[30:110, 20:100] = 0.3
    mask[40:70, 30:90] = 0.99
    return _crop(picture.clip(0, 255).astype(np.uint8))[0], mask, true


def test_a_thing_known_by_half_is_found_along_its_edges():
    pytest.importorskip("cv2")
    crop, mask, true = _half_known()
    found = along_edges(crop, mask, 0 * mask)
    assert found.max() <= 1
    assert ((found > 0.5) != (true > 0.5)).sum() <= 4  # its corners are rounded


def test_strands_are_thin_and_blocks_are_not():
    mask = torch.zeros(1, SIDE, SIDE)
    mask[:, :, 70:73] = 0.8
    mask[:, 20:50, 20:50] = 0.9
    thin = thin_parts(mask)
    assert torch.equal(thin[:, :, 70:73], mask[:, :, 70:73])
    assert not thin[:, :, :60].any() and not thin[:, :, 80:].any()


def test_a_strand_stays_beside_a_thing_whose_colours_it_does_not_have():
    pytest.importorskip("cv2")
    crop, mask, _ = _half_known()
    mask[:, 120:122] = 0.8  # the picture has nothing there
    found = along_edges(crop, mask, 0 * mask)
    assert found[:, 120:122].min() >= mask[0, 120] and not found[:, 125:].any()


def test_what_spreads_within_the_mouth_must_be_surer_than_what_was_there():
    pytest.importorskip("cv2")
    crop, mask, true = _half_known()
    low = torch.where(mask == 0.3, 0.05, mask)
    mouth = mouth_area(SIDE)[0] > 0
    before = torch.where(mouth, 0, true)  # outside of the mouth alone
    unsure = mouth & (low < 0.5)
    spread, kept = (along_edges(crop, low, one)[unsure].sum() for one in (before, true))
    assert spread < 0.1 * kept


def test_where_grabcut_loses_a_thing_the_network_is_sure_of_the_mask_stays():
    pytest.importorskip("cv2")
    crop, mask, _ = _half_known()
    mouth = mouth_area(SIDE)[0] > 0
    low = torch.where(mask == 0.3, 0.05, mask)
    elsewhere = torch.where(mouth, 0.0, 1.0)  # what spreads over the mouth is certainly face
    crop[:] = crop.mean((1, 2), keepdim=True)  # one colour: nothing tells the thing from the face
    assert torch.equal(along_edges(crop, low, elsewhere), low)


def test_nothing_and_everything_stay_as_they_are():
    crop, mask, _ = _half_known()
    for same in (0 * mask + 0.001, 0 * mask + 0.99):
        assert torch.equal(along_edges(crop, same, 0 * mask), same)


def test_without_opencv_the_mask_stays_the_networks(monkeypatch):
    monkeypatch.setattr(occluder_net, "opencv", lambda: None)
    crop, mask, _ = _half_known()
    assert torch.equal(along_edges(crop, mask, 0 * mask), mask)


def test_the_hosts_random_numbers_neither_matter_nor_change(shipped):
    cv2 = pytest.importorskip("cv2")
    crop, mask, _ = _half_known()

    def drawn() -> np.ndarray:
        return cv2.randu(np.zeros(8, np.uint8), 0, 255).copy()

    cv2.setRNGSeed(1)
    expected = drawn()
    cv2.setRNGSeed(1)
    first = along_edges(crop, mask, 0 * mask)
    assert np.array_equal(drawn(), expected)
    assert torch.equal(along_edges(crop, mask, 0 * mask), first)


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"x": torch.zeros(1)}, path, metadata={"format": "omnisync-flow-1"})
    with pytest.raises(ValueError, match="omnisync-flow-1"):
        OccluderNet.load(path)
