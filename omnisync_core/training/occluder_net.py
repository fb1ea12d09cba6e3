"""Training of the occluder network, from a prepared folder (prepare.py) to its weights.

    python -m omnisync_core.training.occluder_net PAIRS OUT --minutes 12

Pictures are the targets and sources of rendered shards and the crops of real packs; occluders are
drawn over seven tenths of them (occluders.py), some with the texture of another picture or in the
colour of the face behind them (half of what is skin), so that a thing is known by lying in front
and not by its colour. Goes on where it stopped; writes OUT/occluder.safetensors and, with --held,
on heads never trained on, OUT/judge.json (things of HELD_OUT were never trained on either).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from ..occluder_net import FORMAT, SIDE, OccluderNet
from .locator import RATE, fit
from .looks import FILTERS, stylise
from .occluders import HELD_OUT, KINDS, SKIN, Occluder, draw_occluder
from .pairs import load_shard

BATCH = 24
# Of things that are no skin, so many have the colour of the face behind them.
_FACE_COLOURED = 0.15
# Of weights that learn on: half of a fresh network's.
_RATE_ON = 1e-3
_MOUTH = np.array([[0.5, 0.44]]) * SIDE  # about where the standard crop has it


class Crops:
    """Crops of faces from prepared folders: draw(rng) -> uint8 [144, 144, 3]."""

    def __init__(self, *folders: Path) -> None:
        paths = [path for folder in folders for path in sorted(folder.iterdir())]
        self.rendered = [load_shard(p) for p in paths if p.name.startswith("rendered_")]
        self.real = [load_shard(p)["crops"] for p in paths if p.name.startswith("real_")]

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        if not self.rendered or (self.real and rng.random() < 0.5):
            pack = self.real[rng.integers(len(self.real))]
            picture = pack[rng.integers(len(pack)), rng.integers(pack.shape[1])]
            n = int(picture.shape[0] * rng.uniform(0.72, 0.92))  # packs are wider than crops
            room = picture.shape[0] - n
            y, x = np.clip(room / 2 + rng.normal(size=2) * 0.04 * n, 0, room).astype(int)
            picture = picture[y : y + n, x : x + n]
        else:
            shard = self.rendered[rng.integers(len(self.rendered))]
            clips = shard[str(rng.choice(["source", "target"]))]
            picture = clips[rng.integers(len(clips)), rng.integers(clips.shape[1])]
        picture = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        return picture[:, ::-1] if rng.random() < 0.5 else picture


def _relit(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another light, tint and softness; thing and face alike."""
    gain = rng.uniform(0.6, 1.3) * (1 + rng.normal(size=3) * 0.1)
    levels = (np.linspace(0, 1, 256) ** np.exp(rng.normal() * 0.25))[:, None] * gain * 255
    out = np.stack([np.clip(levels[:, c], 0, 255)[picture[..., c]] for c in range(3)], -1)
    if rng.random() < 0.1:
        out = np.repeat(out.mean(-1, keepdims=True), 3, -1)
    if rng.random() < 0.3:
        low = int(SIDE / rng.uniform(1.2, 3))
        small = cv2.resize(out, (low, low), interpolation=cv2.INTER_AREA)
        out = cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    if rng.random() < 0.3:
        out = out + rng.standard_normal(out.shape) * rng.uniform(1, 8)
    return np.clip(out, 0, 255).astype(np.uint8)


def draw_sample(
    crops: Crops, rng: np.random.Generator, kinds: tuple[str, ...] = KINDS
) -> tuple[np.ndarray, np.ndarray]:
    """A picture uint8 [144, 144, 3] and its occluders' cover f32 [144, 144], often nothing."""
    picture, cover = crops.draw(rng), np.zeros((SIDE, SIDE), np.float32)
    for _ in range(int(rng.choice([0, 1, 2], p=[0.3, 0.6, 0.1]))):
        mouth = _MOUTH + rng.normal(size=2) * 0.08 * SIDE
        kind = str(rng.choice(kinds))
        thing = draw_occluder(rng, mouth, SIDE, kind=kind)
        if rng.random() < (0.5 if kind in SKIN else _FACE_COLOURED):
            thing = thing.tinted(_cheek(picture, rng) * rng.uniform(0.75, 1.15))
        elif rng.random() < 0.3:
            texture = np.ascontiguousarray(np.rot90(crops.draw(rng), int(rng.integers(1, 4))))
            mixed = 0.7 * texture + 0.5 * thing.pictures[0] - 20.0
            thing = Occluder(np.clip(mixed, 0, 255).astype(np.uint8)[None], thing.cover)
        picture = thing.over(picture[None])[0]
        cover = np.maximum(cover, thing.cover[0])
    if rng.random() < 0.2:
        picture = stylise(picture[None], str(rng.choice(list(FILTERS))), rng.random())[0]
    return _relit(picture, rng), cover


def _cheek(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The mean colour of one cheek, RGB."""
    x = int(SIDE * rng.choice([0.25, 0.75]))
    y, reach = int(SIDE * 0.3), SIDE // 16
    return picture[y - reach : y + reach, x - reach : x + reach].mean((0, 1))


class _Batches(Dataset):
    """A batch for every seed: pictures [b 3 144 144] in [-1, 1] and covers [b 144 144]."""

    def __init__(self, crops: Crops) -> None:
        self.crops = crops

    def __getitem__(self, seed: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng(seed)
        pictures, covers = zip(*(draw_sample(self.crops, rng) for _ in range(BATCH)), strict=True)
        x = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
        return x, torch.from_numpy(np.stack(covers))


def _seeds(rng: torch.Generator) -> Iterator[int]:
    while True:
        yield int(torch.randint(2**31, (1,), generator=rng))


def loss_of(net: OccluderNet, x: Tensor, cover: Tensor) -> Tensor:
    """Cross-entropy per pixel and soft Dice (Milletari et al. 2016) over the batch."""
    logit = net(x)
    share = torch.sigmoid(logit)
    dice = 1 - (2 * (share * cover).sum() + 1) / (share.sum() + cover.sum() + 1)
    return F.binary_cross_entropy_with_logits(logit, cover) + 0.5 * dice


def judge(net: OccluderNet, crops: Crops, *, count: int = 200) -> dict[str, dict[str, float]]:
    """Per kind: intersection over union at 0.5, over all pixels of `count` pictures with one thing;
    under "nothing": the share of pixels taken for an occluder where there is none."""
    found = {}
    for kind in (*KINDS, *HELD_OUT):
        rng = np.random.default_rng(7)
        both = either = 0
        for _ in range(count):
            thing = draw_occluder(rng, _MOUTH, SIDE, kind=kind)
            mask = _find(net, thing.over(crops.draw(rng)[None])[0])
            truth = thing.cover[0] > 0.5
            both, either = both + (mask & truth).sum(), either + (mask | truth).sum()
        found[kind] = {"iou": round(float(both / either), 4)}
    rng = np.random.default_rng(7)
    wrong = [_find(net, crops.draw(rng)).mean() for _ in range(count)]
    found["nothing"] = {"share": round(float(np.mean(wrong)), 5)}
    return found


def _find(net: OccluderNet, picture: np.ndarray) -> np.ndarray:
    x = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float() / 127.5 - 1
    return net.find(x)[0].numpy() > 0.5


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("pairs", type=Path, nargs="+", help="folders that prepare.py filled")
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=12, help="of CPU time, without workers'")
    parser.add_argument("--workers", type=int, default=0, help="processes that draw (default none)")
    parser.add_argument("--start", type=Path, help="weights that learn on")
    parser.add_argument("--held", type=Path, help="such a folder of heads never trained on")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    crops = Crops(*arguments.pairs)
    net = OccluderNet.load(arguments.start) if arguments.start else OccluderNet()
    net.requires_grad_(True)

    if arguments.workers:
        cv2.setNumThreads(1)  # here: its threads do not live on in forked processes
    coming: Iterator[tuple[Tensor, Tensor]] | None = None

    def step(rng: torch.Generator) -> Tensor:
        nonlocal coming
        if coming is None:
            loader = DataLoader(
                _Batches(crops), None, sampler=_seeds(rng), num_workers=arguments.workers
            )
            coming = iter(loader)
        return loss_of(net, *next(coming))

    rate = _RATE_ON if arguments.start else RATE
    state = arguments.out / "occluder.pt"
    average = fit(net, step, state, minutes=arguments.minutes, rate=rate)
    counters = ("num_batches_tracked",)
    state = {k: v for k, v in average.state_dict().items() if not k.endswith(counters)}
    weights = {k: v.half().contiguous() for k, v in state.items()}
    save_file(weights, arguments.out / "occluder.safetensors", metadata={"format": FORMAT})
    if arguments.held:
        held = judge(
            OccluderNet.load(arguments.out / "occluder.safetensors"), Crops(arguments.held)
        )
        (arguments.out / "judge.json").write_text(json.dumps(held, indent=1))


if __name__ == "__main__":
    main()
