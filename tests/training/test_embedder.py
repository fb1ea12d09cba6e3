from pathlib import Path

import pytest
import torch
from torch import nn

from omnisync_core.errors import UserError
from omnisync_core.training.embedder import FACE, load_embedder


class _Means(nn.Module):
    """An embedder whose vectors are the pictures' mean colours."""

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        assert pictures.shape[-1] == 112
        return pictures.mean((2, 3))


def _script(net: nn.Module, path: Path) -> str:
    torch.jit.script(net).save(str(path))
    return str(path)


@pytest.fixture
def pictures() -> torch.Tensor:
    return torch.rand(3, 3, 48, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_a_torchscript_file_embeds_pictures_of_any_size(
    tmp_path: Path, pictures: torch.Tensor
) -> None:
    embed = load_embedder(_script(_Means(), tmp_path / "face.pt"))
    assert embed.term == "identity"
    found = embed(pictures)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3))
    wanted = nn.functional.normalize(pictures.mean((2, 3)), dim=1)
    torch.testing.assert_close(found, wanted, atol=0.05, rtol=0)


def test_the_locator_gives_likeness_and_does_not_call_it_identity(pictures: torch.Tensor) -> None:
    embed = load_embedder("locator")
    assert embed.term == "likeness"
    cosine = embed(pictures) @ embed(pictures + 0.01).T
    assert cosine.shape == (3, 3) and (cosine.diagonal() > 0.9).all()
    assert cosine.diagonal().min() > cosine[~torch.eye(3, dtype=torch.bool)].max()


@pytest.mark.parametrize("which", ["file", "locator"])
def test_pictures_learn_from_an_embedder_that_stays_as_it_is(
    tmp_path: Path, pictures: torch.Tensor, which: str
) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.LazyLinear(5))
    net(torch.zeros(2, 3, FACE, FACE))
    name = _script(net, tmp_path / "face.pt") if which == "file" else which
    embed = load_embedder(name).train()
    before = {k: v.clone() for k, v in embed.state_dict().items()}
    pictures.requires_grad_()
    embed(pictures)[:, 0].sum().backward()
    assert pictures.grad is not None and pictures.grad.abs().sum() > 0
    assert all(torch.equal(v, before[k]) for k, v in embed.state_dict().items())
    assert not any(p.requires_grad for p in embed.parameters())


class _Map(nn.Module):
    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return pictures


def test_what_is_no_face_embedder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no file"):
        load_embedder(str(tmp_path / "none.pt"))
    (tmp_path / "words.pt").write_text("words")
    with pytest.raises(UserError, match="cannot be run"):
        load_embedder(str(tmp_path / "words.pt"))
    with pytest.raises(UserError, match="two pictures gave"):
        load_embedder(_script(_Map(), tmp_path / "map.pt"))
    with pytest.raises(UserError, match="cannot be run"):
        load_embedder(_script(nn.Conv2d(5, 2, 3), tmp_path / "other.pt"))
