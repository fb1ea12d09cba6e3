import pytest
import torch

from omnisync_core.training.losses import (
    change_weight,
    edge_loss,
    flow_loss,
    identity_loss,
    motion_loss,
    mouth_weight,
    velocity_loss,
)


def _video(seed: int, *, frames: int = 3) -> torch.Tensor:
    return torch.randn(2, frames, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


WEIGHT = torch.ones(2, 3, 1, 16, 16)


def test_the_mouth_weighs_most_at_the_mouth() -> None:
    weight = mouth_weight(torch.tensor([[[20.5, 9.5]]]), 24, 32)[0, 0, 0]
    assert divmod(int(weight.argmax()), 32) == (9, 20)
    assert float(weight.max()) == pytest.approx(7) and float(weight[23, 0]) == pytest.approx(
        1, abs=0.1
    )


def test_each_frame_has_its_own_mouth() -> None:
    weight = mouth_weight(torch.tensor([[[4.5, 4.5], [12.5, 4.5]]]), 16, 16)
    assert weight.shape == (1, 2, 1, 16, 16)
    assert int(weight[0, 0, 0, 4].argmax()) == 4 and int(weight[0, 1, 0, 4].argmax()) == 12


def test_velocity_loss_is_the_error_of_the_velocities() -> None:
    clean, truth, noisy, t = _video(0), _video(1), _video(2), torch.tensor([0.85, 0.95])
    spread = t[:, None, None, None, None]
    velocities = [(noisy - x) / spread for x in (clean, truth)]
    expected = (velocities[0] - velocities[1]).square().mean()
    torch.testing.assert_close(velocity_loss(clean, truth, t, WEIGHT), expected)


def test_velocity_loss_stays_bounded_where_time_ends() -> None:
    nothing, small = torch.zeros(2), torch.full((2,), 1e-3)
    losses = [velocity_loss(_video(0), _video(1), t, WEIGHT) for t in (nothing, small)]
    assert losses[0].isfinite() and losses[0] == losses[1]


def test_flow_loss_is_the_distance_in_pixels_where_the_truth_is_known() -> None:
    truth = torch.zeros(1, 1, 2, 4, 4)
    truth[..., 2:, :] = torch.nan
    flow = torch.tensor([3.0, 4.0])[:, None, None].expand_as(truth).clone().requires_grad_()
    loss = flow_loss(flow, truth, torch.ones(1, 1, 1, 4, 4))
    assert loss.item() == pytest.approx(5 / 2, abs=1e-3)
    loss.backward()
    assert flow.grad is not None and flow.grad.isfinite().all()
    assert flow.grad[..., :2, :].ne(0).all() and flow.grad[..., 2:, :].eq(0).all()


def test_edge_loss_does_not_see_a_constant_offset() -> None:
    assert edge_loss(_video(0) + 0.5, _video(0), WEIGHT) < 1e-6


def test_edge_loss_sees_a_moved_line() -> None:
    line = torch.zeros(2, 3, 3, 16, 16)
    line[..., 8, :] = 1
    assert edge_loss(line.roll(1, -2), line, WEIGHT) > 0.1


def test_motion_loss_does_not_see_a_still_offset() -> None:
    offset = _video(1, frames=1)
    assert motion_loss(_video(0) + offset, _video(0), WEIGHT) < 1e-6


def test_motion_loss_punishes_a_mouth_that_does_not_move() -> None:
    truth = _video(0)
    frozen = truth[:, :1].expand_as(truth)
    assert motion_loss(frozen, truth, WEIGHT) > 0.5


def test_one_frame_has_no_motion() -> None:
    assert motion_loss(_video(0, frames=1), _video(1, frames=1), WEIGHT[:, :1]) == 0


@pytest.mark.parametrize("loss", [edge_loss, motion_loss])
def test_errors_under_the_weight_count_more(loss) -> None:
    heavy = mouth_weight(torch.full((2, 3, 2), 8.0), 16, 16)
    assert loss(_video(0), _video(1), heavy) > 1.5 * loss(_video(0), _video(1), WEIGHT)


def _means(pictures: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(pictures.mean((2, 3)), dim=1)


def test_identity_loss_is_one_less_the_cosine_of_what_the_embedder_sees() -> None:
    colours = torch.tensor([[1.0, 0, 0], [0, 1, 0], [-1, 0, 0]])
    red, green, inverse = colours[:, None, :, None, None].expand(3, 2, 3, 8, 8)
    t = torch.tensor([0.2])
    for other, expected in ((red, 0), (green, 1), (inverse, 2)):
        loss = identity_loss(_means, other[None], red[None], t)
        assert float(loss) == pytest.approx(expected, abs=1e-6)


def test_identity_counts_only_where_a_prediction_is_sharp() -> None:
    clean, truth = _video(0).requires_grad_(), _video(1)
    identity_loss(_means, clean, truth, torch.tensor([0.3, 0.7])).backward()
    assert clean.grad is not None
    assert clean.grad[0].abs().sum() > 0 and clean.grad[1].abs().sum() == 0
    assert identity_loss(_means, clean, truth, torch.tensor([0.5, 0.9])) == 0


def test_a_change_counts_where_it_is_and_beside() -> None:
    source = torch.zeros(1, 2, 3, 48, 48)
    target = source.clone()
    target[:, 1, :, 20:28, 20:28] = 2.0
    weight = change_weight(source, target)
    assert weight.shape == (1, 2, 1, 48, 48) and weight[0, 0].eq(0).all()
    assert weight[0, 1, 0, 24, 24] == 2 and 0 < weight[0, 1, 0, 24, 29] < 2
    assert weight[0, 1, 0, 24, 31] == 0


def test_the_mean_of_what_is_unsure_moves_away_from_the_source() -> None:
    """Of two targets as likely, one the source itself, the best guess lies nearer the other one."""
    source, other = torch.zeros(1, 1, 3, 8, 8), torch.ones(1, 1, 3, 8, 8)
    guess, t = torch.full_like(source, 0.5).requires_grad_(), torch.ones(1)
    loss = sum(
        velocity_loss(guess, target, t, 1 + 10 * change_weight(source, target))
        for target in (source, other)
    )
    loss.backward()
    assert guess.grad is not None and (guess.grad < 0).all()
