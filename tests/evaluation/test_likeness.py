"""Likeness and distances between sets, against references."""

import json

import numpy as np
import pytest
import torch

from omnisync_core.errors import UserError
from omnisync_core.evaluation import likeness
from omnisync_core.evaluation.bench import set_distances


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


class Video(torch.nn.Module):
    """A video backbone's interface: [n, 3, 16, 224, 224] -> [n, 6], colour in both halves."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[1:] != (3, 16, 224, 224):
            raise ValueError("another shape")
        return x.mean((3, 4)).unflatten(2, (2, 8)).mean(3).flatten(1)


def test_a_video_backbone_sees_sixteen_frames_at_once(tmp_path):
    torch.jit.script(Video()).save(str(tmp_path / "video.pt"))
    crops = np.random.default_rng(0).integers(0, 256, (40, 40, 40, 3)).astype(np.uint8)
    found = likeness.backbone_features(tmp_path / "video.pt", crops, video=True)
    halves = crops[:32].reshape(2, 2, 8, 40, 40, 3).mean((2, 3, 4)) / 127.5 - 1
    assert found == pytest.approx(halves.swapaxes(1, 2).reshape(2, 6), abs=0.02)


def test_fvd_grows_with_damage_and_is_0_for_the_truth(tmp_path):
    rng = np.random.default_rng(0)
    rows, true = [], rng.normal(size=(12, 6))
    for label, off in (("truth", 0.0), ("near", 0.2), ("far", 2.0)):
        folder = tmp_path / "results" / label
        folder.mkdir(parents=True)
        np.savez(folder / "a.npz", opening=np.zeros(3), fvd=true + off)
        (folder / "a.json").write_text(json.dumps({"method": label}))
        rows.append({"method": label, "name": "a", "status": "ok"})
    found = {m: one["fvd"] for m, one in set_distances(rows, tmp_path).items()}
    assert found["truth"] == pytest.approx(0, abs=1e-2)
    assert found["near"] == pytest.approx(6 * 0.04, abs=0.02)
    assert found["far"] == pytest.approx(6 * 4, abs=0.05)


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
