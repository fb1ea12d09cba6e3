"""SyncNet's evaluator: its shapes, its MFCC, its three figures, and weights of another kind."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from omnisync_core.errors import UserError
from omnisync_core.evaluation import judging, syncnet


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return syncnet.SyncNet().eval()


@torch.no_grad()
def test_five_faces_and_twenty_vectors_meet_in_1024_numbers(net):
    assert net.see(torch.zeros(1, 3, 5, 224, 224)).shape == (1, 1024)
    assert net.hear(torch.zeros(1, 1, 13, 20)).shape == (1, 1024)


def test_late_lips_are_counted_in_frames():
    torch.manual_seed(0)
    heard = torch.randn(80, 16)
    for late in (0, 3, -4):
        found = syncnet.from_distances(torch.roll(heard, late, 0), heard)
        assert found["lse_lag"] == late
        assert found["lse_d"] < found["lse_d"] + found["lse_c"]
    same = syncnet.from_distances(heard, heard)
    assert same["lse_d"] == pytest.approx(0, abs=1e-4) and same["lse_c"] > 3


def test_the_cepstrum_of_a_louder_sound_rises_in_its_energy_alone():
    sound = np.random.default_rng(0).normal(size=16_000) * 0.1
    soft, loud = syncnet.mfcc(sound), syncnet.mfcc(2 * sound)
    assert soft.shape == (99, 13)
    assert loud[:, 0] - soft[:, 0] == pytest.approx(np.log(4))
    assert loud[:, 1:] == pytest.approx(soft[:, 1:], abs=1e-6)


def test_the_cepstrum_is_that_of_the_evaluators_package():
    """python_speech_features 0.6, mfcc(sound * 32768, 16_000), rows 0 and 12 of 24."""
    t = np.arange(4_000) / 16_000
    sound = 0.3 * np.sin(2 * np.pi * 220 * t) + 0.2 * np.sin(2 * np.pi * 1300 * t) * t / t[-1]
    found = syncnet.mfcc(sound)
    assert found.shape == (24, 13)
    first = [18.2173, 20.3067, 4.6263, 2.8813, 10.2294, 4.6375, -17.9855, -34.8374]
    first += [-26.2051, -10.4388, -12.56, -29.0566, -31.7234]
    later = [19.7529, 23.2675, -14.1032, -11.6093, 20.9469, 27.2359, -10.153, -44.4011]
    later += [-33.4454, -3.6312, -2.1038, -27.2162, -35.8964]
    assert found[0] == pytest.approx(first, abs=1e-4)
    assert found[12] == pytest.approx(later, abs=1e-4)


class StandIn:
    """A network of SyncNet's interface: lips as dark as the sound of their moment is loud."""

    def see(self, faces):
        assert faces.shape[1:] == (3, 5, 224, 224) and faces.max() > 1
        return faces[:, :, :, 60:164, 60:164].mean((1, 3, 4))

    def hear(self, mfcc):
        assert mfcc.shape[1:] == (1, 13, 20)
        return mfcc[:, 0, 0].unflatten(1, (5, 4)).mean(2) * 10


def test_lips_late_by_frames_are_found_through_the_whole_evaluator():
    rng = np.random.default_rng(0)
    level = np.repeat(rng.choice([0.02, 0.2], 40), 2)  # changes every other frame
    sound = np.repeat(level, 640) * rng.normal(size=80 * 640)
    energy = syncnet.mfcc(sound)[: 4 * 80 - 4, 0].reshape(-1, 4).mean(1) * 10
    grey = np.concatenate([energy, energy[-1:]])
    for late in (0, 3):
        shown = np.roll(grey, late)[:, None, None, None]
        faces = np.broadcast_to(shown, (80, 224, 224, 3)).astype(np.uint8)
        found = syncnet.syncnet_figures(StandIn(), faces, sound)  # type: ignore[arg-type]
        assert found["lse_lag"] == late and found["lse_c"] > 1


def test_its_figures_stand_beside_the_others(clip, item, monkeypatch, tmp_path):
    monkeypatch.setattr(judging, "load_syncnet", lambda path: StandIn())
    figures = judging.judge(clip, item / "truth.mp4", judging.Means(syncnet=tmp_path)).figures
    assert all(np.isfinite(figures[name]) for name in ("lse_c", "lse_d", "lse_lag"))


def test_weights_load_from_both_kinds_of_file(net, tmp_path):
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    torch.save(net.state_dict(), tmp_path / "net.model")
    for name in ("net.safetensors", "net.model"):
        loaded = syncnet.load_syncnet(tmp_path / name)
        assert torch.equal(loaded.netfclip[0].weight, net.netfclip[0].weight)


@pytest.mark.parametrize("kind", ["missing", "text", "other"])
def test_weights_of_another_kind_are_refused(tmp_path, kind):
    path = tmp_path / "weights.pth"
    if kind == "text":
        path.write_text("no weights")
    elif kind == "other":
        torch.save({"layer.weight": torch.zeros(2)}, path)
    with pytest.raises(UserError, match="Expected weights of SyncNet"):
        syncnet.load_syncnet(path)
