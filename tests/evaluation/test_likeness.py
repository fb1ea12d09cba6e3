"""Likeness and distances between sets, against references."""

import numpy as np
import pytest
import torch

from omnisync_core.errors import UserError
from omnisync_core.evaluation import likeness


def test_the_frechet_distance_of_known_gaussians():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(20_000, 3)), rng.normal(size=(20_000, 3)) * 2 + [1, 0, 0]
    assert likeness.frechet(a, b) == pytest.approx(1 + 3, rel=0.05)
    assert likeness.frechet(a, a) == pytest.approx(0, abs=1e-3)


def test_the_distances_agree_with_torchmetrics():
    fid = pytest.importorskip("torchmetrics.image.fid")
    kid = pytest.importorskip("torchmetrics.image.kid")
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(50, 6)), rng.normal(size=(60, 6)) + 0.3
    x, y = (torch.from_numpy(v) for v in (a, b))
    wanted = fid._compute_fid(x.mean(0), x.T.cov(), y.mean(0), y.T.cov())
    assert likeness.frechet(a, b) == pytest.approx(float(wanted), rel=1e-3)
    n = min(len(a), len(b))
    assert likeness.kernel_distance(a[:n], b[:n]) == pytest.approx(
        float(kid.poly_mmd(x[:n], y[:n])), rel=1e-5
    )


def test_steadiness_of_a_face_that_fades_away():
    source = np.tile([1.0, 0.0], (30, 1))
    turn = np.linspace(0, np.pi / 2, 30)
    found = likeness.steadiness(np.stack([np.cos(turn), np.sin(turn)], 1), source)
    assert found["likeness_least"] == pytest.approx(0, abs=1e-6)
    assert found["likeness_drift"] > 0.5
    assert likeness.steadiness(source, source) == {
        "likeness": 1.0,
        "likeness_least": 1.0,
        "likeness_drift": 0.0,
    }


def test_a_backbone_of_the_users_gives_its_features(tmp_path):
    net = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    torch.jit.script(net).save(str(tmp_path / "net.pt"))
    crops = np.random.default_rng(0).integers(0, 256, (3, 40, 40, 3)).astype(np.uint8)
    found = likeness.backbone_features(tmp_path / "net.pt", crops, video=False)
    assert found.shape == (3, 3)
    assert found == pytest.approx(crops.mean((1, 2)) / 127.5 - 1, abs=0.02)


def test_a_file_that_is_no_backbone_is_refused(tmp_path):
    (tmp_path / "net.pt").write_bytes(b"no network")
    with pytest.raises(UserError, match="TorchScript"):
        likeness.load_backbone(tmp_path / "net.pt")
    maps = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3))
    torch.jit.script(maps).save(str(tmp_path / "maps.pt"))
    with pytest.raises(UserError, match="one vector"):
        likeness.backbone_features(
            tmp_path / "maps.pt", np.zeros((1, 40, 40, 3), np.uint8), video=False
        )
