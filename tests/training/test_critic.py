import math

import torch

from omnisync_core.training.critic import Critic, balanced, contest


def _mouths(seed: int, count: int = 8) -> torch.Tensor:
    """Stripes [n 1 3 32 32] that begin anywhere: teeth, of which a mean is grey."""
    generator = torch.Generator().manual_seed(seed)
    begins = torch.rand(count, generator=generator)[:, None] * 8
    rows = torch.sin((torch.arange(32) + begins) * torch.pi / 4).sign() * 0.8
    return rows[:, None, None, None, :].expand(count, 1, 3, 32, 32)


def test_a_verdict_for_every_eight_pixels() -> None:
    assert Critic()(torch.zeros(2, 3, 48, 32), torch.zeros(2, 3, 48, 32)).shape == (2, 1, 6, 4)


def test_each_loss_teaches_its_own_side_alone() -> None:
    torch.manual_seed(0)
    critic, truth = Critic(), _mouths(0)
    clean = torch.zeros_like(truth).requires_grad_(True)
    weight, source = torch.ones_like(truth[:, :, :1]), torch.zeros_like(truth)
    own, editors = contest(critic, clean, truth, source, weight)
    own.backward(retain_graph=True)
    assert clean.grad is None and all(p.grad is not None for p in critic.parameters())
    critic.zero_grad()
    editors.backward()
    assert clean.grad is not None and clean.grad.abs().sum() > 0
    assert all(p.grad is None for p in critic.parameters())


def test_what_weighs_nothing_teaches_nothing() -> None:
    torch.manual_seed(0)
    truth = _mouths(0)
    clean = torch.zeros_like(truth).requires_grad_(True)
    none = torch.zeros_like(truth[:, :, :1])
    own, editors = contest(Critic(), clean, truth, torch.zeros_like(truth), none)
    (own + editors).backward()
    assert clean.grad is not None and not clean.grad.any()


def test_what_is_left_open_is_drawn_as_one_of_many_not_as_their_mean() -> None:
    torch.manual_seed(0)
    critic, drawn = Critic(), torch.nn.Parameter(0.01 * torch.randn(8, 1, 3, 32, 32))
    groups = [{"params": [*critic.parameters()]}, {"params": [drawn], "lr": 0.02}]
    optimiser = torch.optim.Adam(groups, 1e-3, (0.5, 0.95))
    for step in range(80):
        truth = _mouths(step)  # never the same: pixel losses would lead to the mean
        source, weight = torch.zeros_like(truth), torch.ones_like(truth[:, :, :1])
        own, editors = contest(critic, drawn, truth, source, weight)
        optimiser.zero_grad()
        (own + editors).backward()
        optimiser.step()
    assert _mouths(0, 256).mean(0).std() < 0.1
    across, down = drawn.detach().mean(-2).std(-1).mean(), drawn.detach().mean(-1).std(-1).mean()
    assert across > 0.3 and across > 2 * down  # stripes upright, as the true ones are


def test_a_balanced_loss_pulls_as_hard_as_the_others_when_the_critic_is_sure() -> None:
    clean = torch.randn(4, requires_grad=True)
    others, loss = clean.square().sum(), 1e-4 * clean.exp().sum()

    def pull(own: float) -> torch.Tensor:
        weighted = balanced(loss, torch.tensor(own), others, clean)
        return torch.autograd.grad(weighted, clean, retain_graph=True)[0]

    torch.testing.assert_close(pull(0.0).norm(), 2 * clean.detach().norm())
    assert torch.cosine_similarity(pull(0.0), clean.detach().exp(), 0) > 0.999
    torch.testing.assert_close(pull(math.log(2) / 4), 0.75 * pull(0.0))
    assert not pull(math.log(2)).any() and not pull(1.0).any()
