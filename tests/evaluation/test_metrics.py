"""Picture figures against cases that can be worked out by hand."""

import numpy as np
import pytest

from omnisync_core.evaluation.metrics import error_within, psnr, sharpness, ssim

GREY = np.full((2, 16, 16, 3), 100, np.uint8)


def test_psnr_of_a_constant_error_is_known():
    assert psnr(GREY + 10, GREY) == pytest.approx(10 * np.log10(255**2 / 100))
    assert psnr(GREY, GREY) == 100


def test_ssim_agrees_with_torchmetrics():
    reference = pytest.importorskip("torchmetrics.functional.image")
    import torch

    rng = np.random.default_rng(0)
    a = rng.integers(0, 256, (1, 40, 40, 3)).astype(np.uint8)
    b = np.clip(a + rng.normal(0, 20, a.shape), 0, 255).astype(np.uint8)
    x, y = (torch.from_numpy(v).permute(0, 3, 1, 2).float() for v in (a, b))
    wanted = reference.structural_similarity_index_measure(y, x, data_range=255.0)
    assert ssim(b, a) == pytest.approx(float(wanted), abs=0.02)  # they treat the rim differently


def test_a_flat_picture_has_no_sharpness_and_noise_has():
    noise = np.random.default_rng(0).integers(0, 256, GREY.shape).astype(np.uint8)
    assert sharpness(GREY) == 0 < sharpness(noise)


def test_error_counts_only_where_asked():
    where = np.zeros((2, 16, 16), bool)
    where[:, :4] = True
    changed = GREY.copy()
    changed[:, 8:] = 255
    assert error_within(changed, GREY, where) == 0
    assert error_within(changed, GREY, ~where) == pytest.approx(155 * 8 / 12)
    assert np.isnan(error_within(GREY, GREY, np.zeros_like(where)))
