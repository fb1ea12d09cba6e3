import pytest
import torch

from omnisync_core.training.critic import Critic, mouth_pieces


def _mouths(seed: int, count: int = 4) -> torch.Tensor:
    return torch.rand(count, 3, 24, 24, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_pieces_hold_their_mouths_and_stay_inside() -> None:
    pictures, mouth = (
        torch.zeros(3, 1, 32, 32),
        torch.tensor([[16.5, 18.5], [0.5, 0.5], [31.5] * 2]),
    )
    for one, (x, y) in zip(pictures, mouth.long(), strict=True):
        one[0, y, x] = 1
    pieces = mouth_pieces(pictures, mouth)
    assert pieces.shape == (3, 1, 16, 16) and pieces.flatten(1).sum(1).tolist() == [1, 1, 1]
    y, x = divmod(int(pieces[0].argmax()), 16)
    assert abs(x - 8) <= 1 and 6 <= y <= 8  # a little above the middle: the chin is in it


def test_each_loss_teaches_only_its_own_side() -> None:
    critic, clean = Critic(width=4), _mouths(0).requires_grad_()
    drawn, own = critic.terms(clean, _mouths(1), _mouths(2))
    drawn.backward()
    assert clean.grad is not None and float(clean.grad.abs().sum()) > 0
    assert all(parameter.grad is None for parameter in critic.parameters())
    before, clean.grad = clean.grad, None
    own.backward()
    assert before is not None and clean.grad is None
    weights = [layer.parametrizations.weight.original for layer in critic.layers]
    assert all(float(weight.grad.abs().sum()) > 0 for weight in weights)


def test_a_taught_critic_prefers_sharp_mouths_and_pulls_towards_them() -> None:
    torch.manual_seed(0)
    critic, source = Critic(width=8), _mouths(9)
    optimiser = torch.optim.AdamW(critic.parameters(), 2e-3, (0.5, 0.9))
    blurred = lambda true: torch.nn.functional.avg_pool2d(true, 5, 1, 2)  # noqa: E731
    for step in range(60):
        true = _mouths(step)
        _, own = critic.terms(blurred(true), true, source)
        optimiser.zero_grad()
        own.backward()
        optimiser.step()
    true = _mouths(1000)
    soft = blurred(true)
    sharp, dull = (float(critic(one, source)[-1].mean()) for one in (true, soft))
    assert sharp > dull + 0.2
    losses = [float(critic.terms(one, true, source)[0]) for one in (true, (true + soft) / 2, soft)]
    assert losses == sorted(losses) and losses[0] < losses[2]


def test_true_mouths_differ_in_no_feature() -> None:
    critic, true = Critic(width=4).eval(), _mouths(3)
    drawn, _ = critic.terms(true, true, _mouths(4))
    assert float(drawn.detach()) == pytest.approx(
        -float(critic(true, _mouths(4))[-1].mean()), abs=1e-5
    )
