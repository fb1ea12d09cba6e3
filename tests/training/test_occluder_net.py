"""Training of the network that finds what covers a mouth."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from omnisync_core.occluder_net import SIDE, OccluderNet
from omnisync_core.occluder_net import WEIGHTS as occluder_weights
from omnisync_core.training import occluder_net
from omnisync_core.training.occluder_net import Crops, draw_sample, loss_of
from omnisync_core.training.pairs import save_shard


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Grey rendered clips, and real crops with a bright middle."""
    rng = np.random.default_rng(0)
    clips = rng.integers(100, 120, (2, 2, 48, 48, 3), np.uint8)
    save_shard(tmp_path / "rendered_001", {"source": clips, "target": clips})
    real = np.full((1, 2, 180, 180, 3), 60, np.uint8)
    real[:, :, 45:135, 45:135] = 220
    save_shard(tmp_path / "real_some", {"crops": real})
    return tmp_path


def test_crops_come_from_both_kinds_and_around_the_middle(folder: Path) -> None:
    rng, crops = np.random.default_rng(1), Crops(folder)
    drawn = [crops.draw(rng) for _ in range(30)]
    assert all(pair.shape == (2, SIDE, SIDE, 3) and pair.dtype == np.uint8 for pair in drawn)
    middles = np.array([pair[:, 60:84, 60:84].mean() for pair in drawn])
    assert 5 < (middles == 220).sum() < 25 and 5 < ((middles > 95) & (middles < 125)).sum() < 25


def test_two_moments_of_one_face_are_framed_alike(folder: Path) -> None:
    rng, crops = np.random.default_rng(1), Crops(folder)
    for _ in range(30):
        one, other = crops.draw(rng).astype(int)
        assert abs(one - other).max() < 20  # of a real pack both show the same, of 60 and 220


def test_some_samples_are_alone_and_the_others_beside_a_picture_without_the_thing(
    folder: Path,
) -> None:
    crops, off = Crops(folder), []
    samples = [draw_sample(crops, np.random.default_rng(seed), ("sheet",)) for seed in range(60)]
    for picture, cover, earlier in samples:
        if earlier is not None and (cover > 0.9).sum() > 2000:
            off.append(abs(picture.astype(int) - earlier)[cover > 0.9].mean())
    assert 8 < sum(earlier is None for *_, earlier in samples) < 36
    assert len(off) > 10 and np.median(off) > 20


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_things_may_have_the_colour_of_the_mouth(
    folder: Path, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    crops = Crops(folder)
    crops.rendered = []  # left are real ones: grey 60, around a mouth of 220
    monkeypatch.setattr(occluder_net, "_FACE_COLOURED", 0.0)
    monkeypatch.setattr(occluder_net, "_MOUTH_COLOURED", share)
    monkeypatch.setattr(occluder_net, "_relit", lambda pictures, rng: pictures)
    monkeypatch.setattr(occluder_net, "stylise", lambda pictures, style, amount: pictures)
    far = 0  # so many things have another colour
    for seed in range(80):
        picture, cover, _ = draw_sample(crops, np.random.default_rng(seed), ("blob",))
        inside = picture[cover > 0.95]
        far += len(inside) > 300 and abs(inside.mean() / 220 - 1) > 0.4
    assert far == 0 if share else far > 10


def test_some_samples_are_clear_and_covers_are_shares(folder: Path) -> None:
    crops = Crops(folder)
    covers = [draw_sample(crops, np.random.default_rng(seed))[1] for seed in range(40)]
    assert all(cover.min() >= 0 and cover.max() <= 1 for cover in covers)
    assert 4 < sum(not cover.any() for cover in covers) < 24


def test_the_loss_of_a_batch_falls(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(occluder_net, "BATCH", 2)
    torch.manual_seed(0)
    net, batch = OccluderNet(), occluder_net._Batches(Crops(folder))[3]
    assert batch[1].any()
    optimiser = torch.optim.AdamW(net.parameters(), 2e-3)
    losses = []
    for _ in range(25):
        loss = loss_of(net, *batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


def test_a_run_leaves_weights_that_load(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = folder / "out"
    monkeypatch.setattr(sys, "argv", ["occluder_net", str(folder), str(out), "--minutes", "0"])
    occluder_net.main()
    found = OccluderNet.load(out / "occluder.safetensors").find(torch.zeros(1, 3, SIDE, SIDE))
    assert found.shape == (1, SIDE, SIDE)


def test_half_of_the_skin_has_the_colour_of_the_face_behind(folder: Path) -> None:
    crops, far = Crops(folder), []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        picture, cover, _ = draw_sample(crops, rng, ("finger",))
        if (cover > 0.9).sum() > 100:
            thing, face = picture[cover > 0.9].mean(0), picture[cover == 0].mean(0)
            far.append(np.ptp(thing / np.maximum(face, 1)))
    # The faces here are grey: so is a finger of their colour, and no other.
    assert 0.2 < np.mean(np.array(far) < 0.05) < 0.8


def test_training_goes_on_from_weights(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["occluder_net", str(folder), str(folder), str(folder / "out"), "--minutes", "0"]
    monkeypatch.setattr(sys, "argv", [*words, "--start", str(occluder_weights)])
    occluder_net.main()
    learnt = OccluderNet.load(folder / "out" / "occluder.safetensors").state_dict()
    for name, value in OccluderNet.load().state_dict().items():
        assert torch.equal(learnt[name], value)
