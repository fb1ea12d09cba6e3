"""SyncNet's evaluator: its shapes, its MFCC, its three figures, and weights of another kind."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from omnisync_core.errors import UserError
from omnisync_core.evaluation import syncnet


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


def test_the_cepstrum_agrees_with_the_evaluators_package():
    reference = pytest.importorskip("python_speech_features")
    sound = np.random.default_rng(0).normal(size=8_000) * 0.1
    wanted = reference.mfcc(sound * 32768, 16_000)
    assert syncnet.mfcc(sound) == pytest.approx(wanted, abs=1e-6)


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
