import torch

from omnisync_core.config import ModelConfig
from omnisync_core.decoder import Decoder, compose


def _inputs(config: ModelConfig, *, rows: int = 3, columns: int = 2) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(2, rows * columns, config.width, generator=generator)
    size = (rows * config.patch, columns * config.patch)
    return tokens, torch.rand(2, 6, *size, generator=generator) * 2 - 1


def _drawn(decoder: Decoder, tokens: torch.Tensor, pictures: torch.Tensor):
    drawing = decoder(tokens, pictures)
    return compose(drawing, pictures), drawing.flow


def test_untrained_the_source_comes_back_to_the_bit(tiny: ModelConfig) -> None:
    tokens, pictures = _inputs(tiny)
    clean, flow = _drawn(Decoder(tiny), tokens, pictures)
    assert torch.equal(clean, pictures[:, 3:])
    assert flow.shape == (2, 2, 12, 8) and flow.eq(0).all()


def test_a_flow_moves_the_source_by_its_pixels(tiny: ModelConfig) -> None:
    tokens, pictures = _inputs(tiny)
    decoder = Decoder(tiny)
    with torch.no_grad():  # to be read three pixels to the right and one further down
        decoder.motion.bias.copy_(torch.tensor([3.0, 1.0]) / tiny.patch)
        clean, flow = _drawn(decoder, tokens, pictures)
    torch.testing.assert_close(flow[:, 0], torch.full_like(flow[:, 0], 3.0))
    expected = pictures[:, 3:, 1:, 3:]
    torch.testing.assert_close(clean[:, :, :-1, :-3], expected, atol=1e-5, rtol=1e-5)


def test_all_of_the_source_can_be_drawn_over_and_all_of_the_estimate_taken(
    tiny: ModelConfig,
) -> None:
    tokens, pictures = _inputs(tiny)
    estimate, source = pictures.split(3, dim=1)
    for channels, wanted in ((slice(12, 16), torch.zeros_like(source)), (slice(16, 20), estimate)):
        decoder = Decoder(tiny)
        with torch.no_grad():
            decoder.residual.bias[channels] = 1
            clean, _ = _drawn(decoder, tokens, pictures)
        torch.testing.assert_close(clean, wanted, atol=1e-6, rtol=0)
