"""Training of the mouth locator, from packed people to `weights/locator.safetensors`.

    python -m omnisync_core.training.locator pack OUT --facekit facekit.npz --grid clips/train \
        --photographs FOLDER
    python -m omnisync_core.training.locator train OUT --minutes 28
    python -m omnisync_core.training.locator judge OUT

`pack` cuts rendered heads and GRID speakers out of their pictures and gathers backgrounds
(photographs without people, and textures); some minutes. `train` composes every picture anew (see
`locator_scenes`) and trains the refiner, then the detector; it goes on where it stopped and writes
OUT/locator.safetensors. `judge` measures heads and speakers never trained on and writes
OUT/judge.json. Needs the extra `train`; one CPU core is enough.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from ..locator import FORMAT, STRIDE, TYPICAL_SIDE, Detector, MouthLocator, Refiner
from ..region import Box, standard_box
from . import locator_scenes as scenes
from .locator_people import (
    People,
    backgrounds,
    frames_of,
    grid_clips,
    grid_people,
    load_people,
    mesh_points,
    rendered_people,
    save_people,
)
from .locator_scenes import SIDES, Pool, boxes_of, detector_batch, refiner_batch

BATCH = 64
RATE = 2e-3
# Of the time: while a face is followed the refiner is all there is.
REFINER_SHARE = 0.55


def refiner_loss(refiner: Refiner, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Points and box where a mouth is present, and presence everywhere."""
    x, points, present = batch
    guess, logit = refiner(x)
    miss = F.smooth_l1_loss(guess, points, beta=0.02, reduction="none").mean((1, 2))
    off = F.smooth_l1_loss(boxes_of(guess), boxes_of(points), beta=0.02, reduction="none").mean(1)
    weight = present / present.sum().clamp(min=1)
    sure = F.binary_cross_entropy_with_logits(logit, present)
    return ((miss + off) * weight).sum() + 0.3 * sure


def detector_loss(detector: Detector, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Focal loss on "a box's centre is here", smooth L1 on place and size where it is."""
    x, boxes = batch
    logit, dx, dy, size = detector(x).unbind(1)
    cells = (torch.arange(logit.shape[-1]) + 0.5) * STRIDE
    off_x = boxes[:, :, 0, None, None] - cells[None, None, None, :]
    off_y = boxes[:, :, 1, None, None] - cells[None, None, :, None]
    side = boxes[:, :, 2, None, None]
    asked = (side > 0.8 * SIDES[0]) & (side < 1.2 * SIDES[1])
    distance = torch.hypot(off_x, off_y)
    hit = asked & (distance < (0.2 * side).clamp(min=0.75 * STRIDE))
    inside_only = asked & (distance < 0.5 * side)
    edge = ((side > 0) & ~asked & (side > 0.6 * SIDES[0]) & (side < 1.7 * SIDES[1])) & (
        distance < 0.5 * side
    )
    positive = hit.any(1)
    counted = positive | ~(inside_only | edge).any(1)
    p = torch.sigmoid(logit)
    focal = F.binary_cross_entropy_with_logits(logit, positive.float(), reduction="none")
    focal = focal * torch.where(positive, (1 - p) ** 2, p**2) * counted
    which = hit.float().argmax(1, keepdim=True)
    target = [off_x / STRIDE, off_y / STRIDE, (side / TYPICAL_SIDE).clamp(min=1e-3).log()]
    shape = hit.shape
    miss = sum(
        F.smooth_l1_loss(guess, t.expand(shape).gather(1, which)[:, 0], beta=0.1, reduction="none")
        for guess, t in zip((dx, dy, size), target, strict=True)
    )
    count = positive.sum().clamp(min=1)
    return focal.sum() / count + (miss * positive).sum() / count


def fit(
    network: nn.Module,
    step_loss: Callable[[torch.Generator], Tensor],
    state: Path,
    *,
    minutes: float,
    rate: float = RATE,
    memory_format: torch.memory_format = torch.channels_last,
) -> nn.Module:
    """Train for that long (CPU time) in all, going on from `state` where it exists.

    rate: the highest learning rate, after 200 steps; it falls as half a cosine wave. memory_format:
    of the network's weights, the fastest here (3-D ones need their own). Returns the averaged
    network. A line of figures every 100 steps goes to a JSON-lines file beside `state`.
    """
    network.to(memory_format=memory_format)  # pyright: ignore[reportCallIssue]
    average = AveragedModel(network, avg_fn=_recent_mean, use_buffers=True)
    optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=0.02)
    step, spent, running = 0, 0.0, 0.0
    if state.exists():
        saved = torch.load(state, weights_only=True)
        network.load_state_dict(saved["network"])
        average.load_state_dict(saved["average"])
        optimiser.load_state_dict(saved["optimiser"])
        step, spent = saved["step"], saved["minutes"]
    rng = torch.Generator().manual_seed(step)

    def kept() -> dict[str, object]:
        states = {"network": network.state_dict(), "average": average.state_dict()}
        return {**states, "optimiser": optimiser.state_dict(), "step": step, "minutes": spent}

    network.train()
    started = time.process_time() - 60 * spent  # a busy machine trains no less
    while (spent := (time.process_time() - started) / 60) < minutes:
        share = min(1.0, (step + 1) / 200) * (0.5 + 0.5 * math.cos(math.pi * spent / minutes))
        for group in optimiser.param_groups:
            group["lr"] = rate * max(share, 0.01)
        loss = step_loss(rng)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 2.0)
        optimiser.step()
        average.update_parameters(network)
        step, running = step + 1, running + loss.item()
        if step % 100 == 0:
            row = {"step": step, "minutes": round(spent, 2), "loss": round(running / 100, 4)}
            with state.with_suffix(".jsonl").open("a") as log:
                log.write(json.dumps(row) + "\n")
            running = 0.0
            torch.save(kept(), state)
    torch.save(kept(), state)
    return average.module


def _recent_mean(mean: Tensor, value: Tensor, count: Tensor | int) -> Tensor:
    """Exponential average over about 300 steps, a plain one before."""
    return mean + (value - mean) / min(int(count) + 1, 300)


def train(pool: Pool, out: Path, *, minutes: float, start: Path | None = None) -> MouthLocator:
    """Both networks, one after the other; writes out/locator.safetensors.

    start: weights to go on from, at a lower rate, instead of from nothing.
    """
    torch.manual_seed(0)
    refiner, detector, rate = Refiner(), Detector(), RATE
    if start is not None:
        known = MouthLocator.load(start)
        refiner, detector, rate = known.refiner, known.detector, RATE / 3
    refined = fit(
        refiner,
        lambda rng: refiner_loss(refiner, refiner_batch(pool, BATCH, rng)),
        out / "refiner.pt",
        minutes=minutes * REFINER_SHARE,
        rate=rate,
    )
    detected = fit(
        detector,
        lambda rng: detector_loss(detector, detector_batch(pool, BATCH, rng)),
        out / "detector.pt",
        minutes=minutes * (1 - REFINER_SHARE),
        rate=rate,
    )
    both = nn.ModuleDict({"detector": detected, "refiner": refined}).state_dict()
    counters = ("num_batches_tracked",)
    weights = {k: v.half().contiguous() for k, v in both.items() if not k.endswith(counters)}
    save_file(weights, out / "locator.safetensors", metadata={"format": FORMAT})
    return MouthLocator.load(out / "locator.safetensors")


def judge_people(
    locator: MouthLocator, people: People, grounds: np.ndarray, *, count: int
) -> dict[str, float]:
    """Whole frames of 320 pixels with one unseen person each at any size, and as many without."""
    rng = torch.Generator().manual_seed(1)
    pool = Pool(rendered=people, real=people, grounds=grounds)
    size, truth, found, false_alarms = 320, [], [], 0
    for _ in range(count):
        ground = scenes.ground(grounds, 1, size, rng)
        side = scenes.uniform((1,), math.log(0.06 * size), math.log(0.5 * size), rng).exp()
        centre = torch.stack([scenes.uniform((1,), 0.2, 0.8, rng) for _ in range(2)], 1) * size
        layer, points = scenes.place(
            *scenes.draw(pool, 1, rng), size=size, centre=centre, side=side, rng=rng
        )
        frame, empty = scenes.over(ground, scenes.light(layer, rng)), ground
        found.append(locator.locate(_frame(frame)))
        truth.append(standard_box(*points[0].double().numpy()))
        false_alarms += locator.locate(_frame(empty)) is not None
    return figures(found, truth) | {"false_alarms": false_alarms / count}


def _frame(x: Tensor) -> np.ndarray:
    return rearrange((x[0].clamp(0, 1) * 255).byte(), "c h w -> h w c").numpy().copy()


def figures(found: list[Box | None], truth: list[Box]) -> dict[str, float]:
    """Share missed (none, or more than half a side off) and median errors relative to the side."""
    pairs = [(f, t) for f, t in zip(found, truth, strict=True) if f is not None]
    off = [math.hypot(f.cx - t.cx, f.cy - t.cy) / t.side for f, t in pairs]
    size = [abs(math.log(f.side / t.side)) for f, t in pairs]
    hits = [i for i, error in enumerate(off) if error < 0.5]
    return {
        "frames": len(truth),
        "missed": 1 - len(hits) / len(truth),
        "centre": float(np.median([off[i] for i in hits])) if hits else math.nan,
        "side": float(np.median([size[i] for i in hits])) if hits else math.nan,
    }


def judge_clips(locator: MouthLocator, clips: dict[Path, np.ndarray]) -> dict[str, float]:
    """GRID clips followed from their first frame, against the packed landmarks."""
    found, truth = [], []
    for path, landmarks in clips.items():
        boxes = list(locator.follow(frames_of(path)))
        count = min(len(boxes), len(landmarks))
        found += boxes[:count]
        truth += [standard_box(*mesh_points(marks)) for marks in landmarks[:count]]
    return figures(found, truth)


def pack(arguments: argparse.Namespace) -> None:
    out = arguments.folder
    out.mkdir(parents=True, exist_ok=True)
    photographs = sorted(arguments.photographs.iterdir()) if arguments.photographs else []
    np.save(out / "grounds.npy", backgrounds(photographs, count=1500, seed=0))
    clips = grid_clips(arguments.grid, held_out=False)
    save_people(grid_people(clips, per_clip=12), out, "real")
    for name, heads, seed in (("rendered", arguments.heads, 100), ("held_out", 50, 7)):
        people = rendered_people(arguments.facekit, heads=heads, per_head=4, seed=seed)
        save_people(people, out, name)


def judge(arguments: argparse.Namespace) -> None:
    folder = arguments.folder
    locator = MouthLocator.load(folder / "locator.safetensors")
    grounds = np.load(folder / "grounds.npy")
    clips = grid_clips(arguments.grid, held_out=True)
    result = {
        "rendered": judge_people(locator, load_people(folder, "held_out"), grounds, count=300),
        "speakers": judge_clips(locator, clips),
    }
    (folder / "judge.json").write_text(json.dumps(result, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("command", choices=("pack", "train", "judge"))
    parser.add_argument("folder", type=Path, help="where everything packed and trained lies")
    parser.add_argument("--grid", type=Path, help="folder of grid_s1 and grid_other")
    parser.add_argument("--facekit", type=Path, help="facekit.npz")
    parser.add_argument("--photographs", type=Path, help="folder of pictures without people")
    parser.add_argument("--heads", type=int, default=675)
    parser.add_argument("--minutes", type=float, default=28, help="of CPU time")
    parser.add_argument("--start", type=Path, help="locator.safetensors to go on from")
    arguments = parser.parse_args()
    folder = arguments.folder
    if arguments.command == "pack":
        pack(arguments)
    elif arguments.command == "judge":
        judge(arguments)
    else:
        pool = Pool(
            rendered=load_people(folder, "rendered"),
            real=load_people(folder, "real"),
            grounds=np.load(folder / "grounds.npy"),
        )
        train(pool, folder, minutes=arguments.minutes, start=arguments.start)


if __name__ == "__main__":
    main()
