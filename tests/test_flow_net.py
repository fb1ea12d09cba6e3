import pytest
import torch
from safetensors.torch import save_file

from omnisync_core import optical_flow
from omnisync_core.config import SyncOptions
from omnisync_core.editing import FlowNoise
from omnisync_core.errors import UserError
from omnisync_core.flow_net import FORMAT, FlowNet3D
from omnisync_core.optical_flow import dense_flow, estimator, lucas_kanade


def _untrained() -> FlowNet3D:
    torch.manual_seed(0)
    return FlowNet3D().eval()


@pytest.fixture
def weights(tmp_path):
    """Weights that find some motion, right or wrong."""
    net = _untrained()
    with torch.no_grad():
        net.net[-1].weight += 0.02 * torch.randn_like(net.net[-1].weight)
    save_file(net.state_dict(), tmp_path / "flow.safetensors", metadata={"format": FORMAT})
    return tmp_path / "flow.safetensors"


def _frames(size: int = 48) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    before = torch.nn.functional.interpolate(
        torch.rand(1, 3, 9, 9, generator=generator) * 2 - 1, (size, size), mode="bicubic"
    )[0].clamp(-1, 1)
    return before, before.roll(1, dims=2)


def test_an_untrained_network_says_that_nothing_moves():
    assert not _untrained().estimate(*_frames()).any()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 40), (17, 33), (64, 30)])
def test_any_size_works(weights, height, width):
    flow = estimator(str(weights))(*torch.rand(2, 3, height, width))
    assert flow.shape == (2, height, width) and bool(torch.isfinite(flow).all())


def test_it_learns_a_motion():
    """Forty steps on one pair: the flow gets most of the way there."""
    net, (before, after) = _untrained().train(), _frames()
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)
    truth = torch.tensor([-1.0, 0.0])[:, None, None]
    errors = []
    for _ in range(40):
        error = (net(before[None], after[None])[0] - truth)[:, 4:-4, 4:-4].norm(dim=0).mean()
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
        errors.append(float(error.detach()))
    assert errors[0] == pytest.approx(1) and errors[-1] < 0.4


def test_the_flow_is_chosen_by_name(weights):
    assert estimator("auto") is dense_flow and estimator("lucas_kanade") is lucas_kanade
    frames = _frames(32)
    noises = []
    for name in ("lucas_kanade", str(weights)):
        noise = FlowNoise(32, 0, flow=estimator(name))
        noises.append([noise(i, frame) for i, frame in enumerate(frames)])
    assert torch.equal(noises[0][0], noises[1][0]) and not torch.equal(noises[0][1], noises[1][1])


def test_a_file_that_is_no_flow_network_is_refused(tmp_path):
    with pytest.raises(UserError, match="auto, lucas_kanade, or the path"):
        estimator("fast")
    (tmp_path / "text.safetensors").write_text("no weights")
    with pytest.raises(UserError, match="cannot be read"):
        estimator(str(tmp_path / "text.safetensors"))
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors", metadata={"format": "x"})
    with pytest.raises(UserError, match="format"):
        estimator(str(tmp_path / "other.safetensors"))


def test_by_default_no_network_is_asked(monkeypatch):
    monkeypatch.setattr(optical_flow, "opencv", lambda: None)
    assert torch.equal(estimator(SyncOptions().flow)(*_frames()), lucas_kanade(*_frames()))
