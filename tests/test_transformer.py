import pytest
import torch
from torch import Tensor

from omnisync_core.config import ModelConfig, preset
from omnisync_core.errors import UserError
from omnisync_core.model import OmniSync
from omnisync_core.transformer import VideoTransformer


def _inputs(
    config: ModelConfig, *, batch: int = 1, frames: int = 2, height: int = 16, width: int = 16
) -> list[Tensor]:
    """x_t, source, t, audio, voiceprint, times."""
    generator = torch.Generator().manual_seed(0)
    window = 2 * config.audio_reach + 1
    return [
        torch.randn(batch, frames, 3, height, width, generator=generator),
        torch.rand(batch, frames, 3, height, width, generator=generator) * 2 - 1,
        torch.rand(batch, generator=generator),
        torch.randn(batch, frames, window, config.audio_width, generator=generator),
        torch.randn(batch, config.voiceprint_width, generator=generator),
        (torch.arange(frames) / 25.0).expand(batch, frames),
    ]


def test_untrained_the_network_is_the_identity_to_the_bit(tiny: ModelConfig) -> None:
    inputs = _inputs(tiny, batch=2, frames=3)
    assert torch.equal(VideoTransformer(tiny)(*inputs), inputs[1])


@pytest.mark.parametrize("frames", [1, 2, 7])
@pytest.mark.parametrize(("height", "width"), [(8, 8), (8, 40), (64, 24)])
def test_any_multiple_of_the_patch_and_any_window_works(
    tiny_model: OmniSync, frames: int, height: int, width: int
) -> None:
    inputs = _inputs(tiny_model.config, frames=frames, height=height, width=width)
    clean = tiny_model.transformer(*inputs)
    assert clean.shape == inputs[1].shape and clean.isfinite().all()
    assert not torch.equal(clean, inputs[1])


def test_a_size_that_the_patch_does_not_divide_is_refused(tiny: ModelConfig) -> None:
    with pytest.raises(UserError, match="multiple of 8 pixels high and wide; got 16 x 20"):
        VideoTransformer(tiny)(*_inputs(tiny, width=20))


def test_every_parameter_gets_a_finite_gradient(tiny_model: OmniSync) -> None:
    inputs = _inputs(tiny_model.config, batch=2)
    tiny_model.transformer(*inputs).square().mean().backward()
    for name, parameter in tiny_model.transformer.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.ne(0).any(), name


def test_after_one_step_the_residual_layer_has_moved(tiny: ModelConfig) -> None:
    torch.manual_seed(0)
    network, inputs = VideoTransformer(tiny), _inputs(tiny)
    optimiser = torch.optim.SGD(network.parameters(), 0.1)
    for _ in range(2):  # the first step opens the output, the second reaches what lies before it
        network(*inputs).square().mean().backward()
        optimiser.step()
    assert not torch.equal(network(*inputs), inputs[1])


def test_a_batch_does_not_mix_its_windows(tiny_model: OmniSync) -> None:
    inputs = _inputs(tiny_model.config, batch=3)
    together = tiny_model.transformer(*inputs)
    alone = tiny_model.transformer(*[value[1:2] for value in inputs])
    torch.testing.assert_close(together[1:2], alone, atol=1e-5, rtol=1e-5)


def test_frames_of_a_window_see_each_other(tiny_model: OmniSync) -> None:
    inputs = _inputs(tiny_model.config, frames=3)
    before = tiny_model.transformer(*inputs)
    inputs[0][:, 2] += 1
    assert not torch.allclose(before[:, 0], tiny_model.transformer(*inputs)[:, 0])


def test_only_the_spacing_of_the_frames_counts_not_when_they_are(tiny_model: OmniSync) -> None:
    inputs = _inputs(tiny_model.config, frames=3)
    before = tiny_model.transformer(*inputs)
    inputs[5] = inputs[5] + 100
    torch.testing.assert_close(tiny_model.transformer(*inputs), before, atol=1e-4, rtol=1e-3)


def test_each_frame_hears_its_own_window(tiny_model: OmniSync) -> None:
    inputs = _inputs(tiny_model.config, frames=2)
    before = tiny_model.transformer(*inputs)
    inputs[3] = inputs[3].flip(1)
    change = (tiny_model.transformer(*inputs) - before).abs().mean((0, 2, 3, 4))
    assert (change > 0).all()


@torch.no_grad()  # as in use
def test_bf16_stays_close_to_full_precision(tiny_model: OmniSync) -> None:
    inputs = _inputs(tiny_model.config, frames=2, height=32, width=32)
    exact = tiny_model.transformer(*inputs)
    half = tiny_model.transformer.bfloat16()(*[value.bfloat16() for value in inputs[:5]], inputs[5])
    error = (half.float() - exact).abs().flatten() / exact.std()
    assert error.quantile(0.5) < 0.01 and error.quantile(0.99) < 0.06


def test_the_same_seed_makes_the_same_network(tiny: ModelConfig) -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(VideoTransformer(tiny).state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_the_full_preset_is_24_blocks_of_width_768_on_patches_of_8() -> None:
    with torch.device("meta"):
        model = OmniSync(preset("omnisync"))
    network = model.transformer
    assert len(network.blocks) == 24
    assert network.embed.weight.shape == (768, 6 * 8 * 8)  # noisy and source pixels of a patch
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    assert millions == pytest.approx(414.3, abs=0.1)


def _one_step(size: int, device: str) -> Tensor:
    """One frame through the full preset; constant weights, as random ones take long to draw."""
    with torch.device("meta"):
        network = VideoTransformer(preset("omnisync"))
    network = network.to_empty(device=device)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(0.01)
        inputs = _inputs(network.config, frames=1, height=size, width=size)
        return network(*[value.to(device) for value in inputs]) - inputs[1].to(device)


def test_the_full_preset_runs_a_step_on_a_cpu() -> None:
    residual = _one_step(64, "cpu")
    assert residual.isfinite().all() and residual.ne(0).any()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="a minute and more without a GPU")
@pytest.mark.parametrize("size", [256, 512, 1024])
def test_the_full_preset_runs_a_step_at_its_working_sizes(size: int) -> None:
    residual = _one_step(size, "cuda")
    assert residual.isfinite().all() and residual.ne(0).any()
