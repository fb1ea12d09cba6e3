"""Training of the occluder network, from a prepared folder (prepare.py) to its weights.

    python -m omnisync_core.training.occluder_net PAIRS OUT --minutes 12

Pictures are the targets and sources of rendered shards and the crops of real packs; occluders are
drawn over seven tenths of them (occluders.py), some with the texture of another picture or in the
colour of the face or mouth behind them (half of what is skin), so that a thing is known by lying in
front and not by its colour. Goes on where it stopped; writes OUT/occluder.safetensors and, with
--held, on heads never trained on, OUT/judge.json (things of HELD_OUT were never trained on either).
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

from ..occluder_net import FORMAT, SIDE, OccluderNet, beside, thin_parts
from ..occlusion import TEETH_REACH, mouth_area
from .locator import RATE, fit
from .looks import FILTERS, stylise
from .occluders import HELD_OUT, KINDS, SKIN, Occluder, draw_occluder
from .pairs import load_shard

BATCH = 24
# Thin things, which the network misses most, come so many times as often as the others.
_THIN, _MORE = ("finger", "headset", "hair"), 2.0
_THIN_WEIGHT = 3.0  # and so much more in the loss: they are few pixels
# Of things that are no skin, so many have the colour of the face, so many that of the mouth.
_FACE_COLOURED, _MOUTH_COLOURED = 0.15, 0.15
# So many samples have no earlier picture, one of another face, one with the thing in it as well.
_ALONE, _ANOTHER_FACE, _IN_BOTH = 0.35, 0.08, 0.25
# Of so many samples the darkest mouth of some moments is taken: open ones look most like things.
_OPEN, _MOMENTS = 0.5, 4
# Of weights that learn on: half of a fresh network's.
_RATE_ON = 1e-3
_MOUTH = np.array([[0.5, 0.44]]) * SIDE  # about where the standard crop has it


class Crops:
    """Crops of faces from prepared folders: draw(rng) -> uint8 [2, 144, 144, 3], two moments of one
    face with the head about as it was."""

    def __init__(self, *folders: Path) -> None:
        paths = [path for folder in folders for path in sorted(folder.iterdir())]
        self.rendered = [load_shard(p) for p in paths if p.name.startswith("rendered_")]
        self.real = [load_shard(p)["crops"] for p in paths if p.name.startswith("real_")]

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        if not self.rendered or (self.real and rng.random() < 0.5):
            pack = self.real[rng.integers(len(self.real))]
            clip = pack[rng.integers(len(pack))]
            moments = [clip[rng.integers(len(clip))] for _ in range(1 + _MOMENTS)]
            n = int(clip.shape[1] * rng.uniform(0.72, 0.92))  # packs are wider than crops
            room = clip.shape[1] - n
            y, x = np.clip(room / 2 + rng.normal(size=2) * 0.04 * n, 0, room).astype(int)
            moments = [one[y : y + n, x : x + n] for one in moments]
        else:
            shard = self.rendered[rng.integers(len(self.rendered))]
            i = rng.integers(len(shard["source"]))
            clips = [shard[str(name)][i] for name in rng.choice(["source", "target"], 1 + _MOMENTS)]
            moments = [clip[rng.integers(len(clip))] for clip in clips]
        first = moments[1]
        if rng.random() < _OPEN:
            first = min(moments[1:], key=lambda one: _middle(one).mean())
        pair = [
            cv2.resize(one, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
            for one in (first, moments[0])
        ]
        return np.stack(pair)[:, :, :: -1 if rng.random() < 0.5 else 1]


def _middle(picture: np.ndarray) -> np.ndarray:
    """The middle of a crop's mouth: dark where it is open."""
    x, y = (_MOUTH[0] / SIDE * len(picture)).astype(int)
    reach = len(picture) // 12
    return picture[y - reach : y + reach, x - reach : x + reach]


def _relit(pictures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Pictures [f, s, s, 3] in another light, tint and softness; thing and face alike."""
    gain = rng.uniform(0.6, 1.3) * (1 + rng.normal(size=3) * 0.1)
    levels = (np.linspace(0, 1, 256) ** np.exp(rng.normal() * 0.25))[:, None] * gain * 255
    out = np.stack([np.clip(levels[:, c], 0, 255)[pictures[..., c]] for c in range(3)], -1)
    if rng.random() < 0.1:
        out = np.repeat(out.mean(-1, keepdims=True), 3, -1)
    if rng.random() < 0.3:
        low = int(SIDE / rng.uniform(1.2, 3))
        small = [cv2.resize(one, (low, low), interpolation=cv2.INTER_AREA) for one in out]
        out = np.stack([cv2.resize(one, (SIDE, SIDE)) for one in small])
    if rng.random() < 0.3:
        out = out + rng.standard_normal(out.shape) * rng.uniform(1, 8)
    return np.clip(out, 0, 255).astype(np.uint8)


def _moved(
    picture: np.ndarray, rng: np.random.Generator, shift: np.ndarray, **border
) -> np.ndarray:
    """A picture [s, s] or [s, s, 3], shifted by pixels (x, y), slightly turned and scaled."""
    matrix = cv2.getRotationMatrix2D(
        (SIDE / 2, SIDE / 2), rng.normal() * 3, np.exp(rng.normal() * 0.03)
    )
    matrix[:, 2] += shift
    return cv2.warpAffine(picture, matrix, (SIDE, SIDE), **border)


def draw_sample(
    crops: Crops, rng: np.random.Generator, kinds: tuple[str, ...] = KINDS
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """A picture uint8 [144, 144, 3], its occluders' cover f32 [144, 144], often nothing, and an
    earlier picture of the face, often none."""
    picture, earlier = crops.draw(rng)
    if rng.random() < _ANOTHER_FACE:
        earlier = crops.draw(rng)[0]
    cover = np.zeros((SIDE, SIDE), np.float32)
    for _ in range(int(rng.choice([0, 1, 2], p=[0.3, 0.6, 0.1]))):
        mouth = _MOUTH + rng.normal(size=2) * 0.08 * SIDE
        often = np.array([_MORE if kind in _THIN else 1.0 for kind in kinds])
        kind = str(rng.choice(kinds, p=often / often.sum()))
        thing = draw_occluder(rng, mouth, SIDE, kind=kind)
        if rng.random() < (0.5 if kind in SKIN else _FACE_COLOURED):
            thing = thing.tinted(_cheek(picture, rng) * rng.uniform(0.75, 1.15))
        elif kind not in SKIN and rng.random() < _MOUTH_COLOURED:
            thing = thing.tinted(_middle(picture).mean((0, 1)) * rng.uniform(0.75, 1.25))
        elif rng.random() < 0.3:
            texture = np.ascontiguousarray(np.rot90(crops.draw(rng)[0], int(rng.integers(1, 4))))
            mixed = 0.7 * texture + 0.5 * thing.pictures[0] - 20.0
            thing = Occluder(np.clip(mixed, 0, 255).astype(np.uint8)[None], thing.cover)
        picture = thing.over(picture[None])[0]
        cover = np.maximum(cover, thing.cover[0])
        if rng.random() < _IN_BOTH:
            shift = rng.normal(size=2) * 0.2 * SIDE
            seed = int(rng.integers(2**31))
            layers = (thing.pictures[0], thing.cover[0])
            there = [_moved(one, np.random.default_rng(seed), shift)[None] for one in layers]
            earlier = Occluder(*there).over(earlier[None])[0]
    pair = np.stack([picture, earlier])
    if rng.random() < 0.2:
        pair = stylise(pair, str(rng.choice(list(FILTERS))), rng.random())
    picture, earlier = _relit(pair, rng)
    if rng.random() < _ALONE:
        return picture, cover, None
    shift = rng.normal(size=2) * rng.choice([0.5, 3.0])
    earlier = _moved(earlier, rng, shift, borderMode=cv2.BORDER_REPLICATE)
    return picture, cover, np.clip(earlier * np.exp(rng.normal() * 0.05), 0, 255).astype(np.uint8)


def _cheek(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The mean colour of one cheek, RGB."""
    x = int(SIDE * rng.choice([0.25, 0.75]))
    y, reach = int(SIDE * 0.3), SIDE // 16
    return picture[y - reach : y + reach, x - reach : x + reach].mean((0, 1))


class _Batches(Dataset):
    """A batch for every seed: what the network sees [b 7 144 144] and covers [b 144 144]."""

    def __init__(self, crops: Crops) -> None:
        self.crops = crops

    def __getitem__(self, seed: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng(seed)
        samples = [draw_sample(self.crops, rng) for _ in range(BATCH)]
        seen = [
            beside(_crop(x), None if clear is None else _crop(clear)) for x, _, clear in samples
        ]
        return torch.cat(seen), torch.from_numpy(np.stack([cover for _, cover, _ in samples]))


def _crop(picture: np.ndarray) -> Tensor:
    """uint8 [144, 144, 3] -> [1 3 144 144] in [-1, 1]."""
    return (
        torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float() / 127.5 - 1
    )


def _seeds(rng: torch.Generator) -> Iterator[int]:
    while True:
        yield int(torch.randint(2**31, (1,), generator=rng))


def loss_of(net: OccluderNet, x: Tensor, cover: Tensor) -> Tensor:
    """Cross-entropy per pixel, three times as much around the mouth, where a mistake is a lip lost
    or painted, and more on and beside what is thin; and soft Dice (Milletari et al. 2016) over the
    batch."""
    logit = net(x)
    share = torch.sigmoid(logit)
    dice = 1 - (2 * (share * cover).sum() + 1) / (share.sum() + cover.sum() + 1)
    thin = F.max_pool2d(thin_parts(cover)[:, None], 3, stride=1, padding=1)[:, 0]
    weight = 1 + 2 * mouth_area(SIDE, grown=TEETH_REACH) + _THIN_WEIGHT * thin
    return F.binary_cross_entropy_with_logits(logit, cover, weight) + 0.5 * dice


def judge(net: OccluderNet, crops: Crops, *, count: int = 200) -> dict[str, dict[str, float]]:
    """Per kind: intersection over union at 0.5, over all pixels of `count` pictures with one thing,
    alone and beside a clear one; under "nothing": the share of pixels taken for an occluder where
    there is none."""
    found = {}
    for kind in (*KINDS, *HELD_OUT):
        rng = np.random.default_rng(7)
        sums = np.zeros((2, 2))
        for _ in range(count):
            thing = draw_occluder(rng, _MOUTH, SIDE, kind=kind)
            picture, clear = crops.draw(rng)
            truth = thing.cover[0] > 0.5
            for mask, row in zip(
                _find(net, thing.over(picture[None])[0], clear), sums, strict=True
            ):
                row += (mask & truth).sum(), (mask | truth).sum()
        found[kind] = _named(sums[:, 0] / sums[:, 1], "iou")
    rng = np.random.default_rng(7)
    wrong = [[mask.mean() for mask in _find(net, *crops.draw(rng))] for _ in range(count)]
    found["nothing"] = _named(np.mean(wrong, 0), "share")
    return found


def _named(values: np.ndarray, name: str) -> dict[str, float]:
    return {name: round(float(values[0]), 5), f"{name} beside": round(float(values[1]), 5)}


def _find(net: OccluderNet, picture: np.ndarray, clear: np.ndarray) -> list[np.ndarray]:
    """The masks of a picture, alone and beside a clear one."""
    return [net.find(_crop(picture), x)[0].numpy() > 0.5 for x in (None, _crop(clear))]


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
