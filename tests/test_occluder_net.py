"""The network that finds what covers a mouth, and the weights of it that ship."""

from importlib.resources import files

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from omnisync_core.composite import take_crop
from omnisync_core.media import read_frames
from omnisync_core.occluder_net import SIDE, OccluderNet
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


@pytest.mark.parametrize("side", [64, 144, 201])
def test_crops_of_any_side_are_taken(shipped, side):
    mask = shipped.find(torch.rand(2, 3, side, side) * 2 - 1)
    assert mask.shape == (2, side, side) and 0 <= float(mask.min()) <= float(mask.max()) <= 1


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"x": torch.zeros(1)}, path, metadata={"format": "omnisync-flow-1"})
    with pytest.raises(ValueError, match="omnisync-flow-1"):
        OccluderNet.load(path)
