import pytest
import torch

from omnisync_core.config import ModelConfig, preset
from omnisync_core.model import OmniSync


@pytest.fixture
def tiny() -> ModelConfig:
    """The mini preset, so small that a test takes milliseconds."""
    return preset(
        "mini",
        patch=8,
        width=32,
        heads=2,
        depth=2,
        detail_width=4,
        crop=96,
        audio_width=32,
        audio_heads=2,
        audio_depth=2,
    )


@pytest.fixture
def tiny_model(tiny: ModelConfig) -> OmniSync:
    """A tiny model whose zero-initialised gates are open, as if it had been trained a little."""
    torch.manual_seed(0)
    model = OmniSync(tiny).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return model
