from dataclasses import replace

import numpy as np
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


@pytest.fixture
def untrained(tiny: ModelConfig) -> OmniSync:
    """A tiny model of small crops as it is made: it gives the source back."""
    return OmniSync(replace(tiny, crop=32)).eval()


@pytest.fixture
def model(untrained: OmniSync) -> OmniSync:
    """A tiny model whose weights are no longer at their start, so that it changes pictures."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in untrained.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return untrained


@pytest.fixture
def frames() -> np.ndarray:
    """Nine frames [9, 48, 64, 3] of a pattern that moves a little."""
    y, x = np.mgrid[0:48, 0:64]
    rows = [[x * 3, y * 5, 128 + 60 * np.sin((x + i) / 6)] for i in range(9)]
    return np.array(rows).transpose(0, 2, 3, 1).astype(np.uint8)
