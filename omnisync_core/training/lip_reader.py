"""Train the benchmark's lip reader: mouth pictures against the openings that are known.

    python -m omnisync_core.training.lip_reader PAIRS READER --held real_grid_other

PAIRS is a training folder with real clips and their landmarks (`omnisync prepare` on GRID folders);
heads are rendered beside them. READER gets lip_reader.safetensors and lip_reader.json: how well it
reads the last ten heads, which it never saw, and how well a second reader, trained without the pack
--held, reads the people in it.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from ..errors import UserError
from ..evaluation.built_in import SIZE, _kit, speech
from ..evaluation.judge import SIDE
from ..evaluation.lip_reader import UNIT, LipReader
from ..region import standard_box
from .judge import _ROOM, cut_mouths
from .looks import FILTERS, stylise
from .pairs import load_shard
from .real import LIPS, MARGIN
from .render import Head, Scene, render_clip
from .visemes import articulation, expression_weights
from .voice import GRID_LANDMARKS

_SEED = 660_000
_HEADS, _FRAMES = 60, 30
_HELD_OUT = 10  # heads
_BATCH = 64
_UPPER, _LOWER = (GRID_LANDMARKS.index(n) for n in (13, 14))


@dataclass(eq=False)
class Person:
    """Mouths grey uint8 [f, 64, 64] (cut_mouths) and openings [f] over the crop's side."""

    name: str
    mouths: np.ndarray
    openings: np.ndarray


def real_people(folder: Path) -> list[Person]:
    """Every real clip of a training folder; a name begins with its pack's."""
    found = []
    for path in sorted(folder.glob("real_*")):
        pack = load_shard(path)
        for i, name in enumerate(pack["names"]):
            marks = np.asarray(pack["landmarks"][i])
            side = pack["crops"].shape[2] / MARGIN
            apart = np.linalg.norm(marks[:, _UPPER] - marks[:, _LOWER], axis=1) / side
            mouths = cut_mouths(pack["crops"][i], marks[:, LIPS].mean(1), side)
            found.append(Person(f"{path.name} {name}", mouths, apart))
    if not found:
        raise UserError(f"{folder} holds no real clips; make some with `omnisync prepare`.")
    return found


def rendered_people(count: int) -> list[Person]:
    """Heads at random moments of speech, every third drawn in one of looks.FILTERS."""
    kit, found = _kit(), []
    for number in range(count):
        rng = np.random.default_rng(_SEED + number)
        head, scene = Head(kit, rng), Scene(rng)
        _, phones = speech(rng, _FRAMES / 5, "en-us")
        curves = articulation(phones, np.arange(_FRAMES) / 5)
        weights = expression_weights(curves, kit.expression_names)
        shown = list(render_clip(head, scene, weights, width=SIZE, height=SIZE, seed=number))
        frames = np.stack([frame for frame, _ in shown])
        if number % 3 == 0:
            frames = stylise(frames, list(FILTERS)[number // 3 % len(FILTERS)], rng.random())
        mouths, openings = [], []
        for frame, (_, p) in zip(frames, shown, strict=True):
            box = standard_box(p.eyes[0], p.eyes[1], p.mouth)
            mouths.append(cut_mouths(frame[None], p.mouth[None], box.side)[0])
            openings.append(p.opening / box.side)
        found.append(Person(f"head {number}", np.stack(mouths), np.array(openings)))
    return found


def moved(mouth: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """A mouth [64, 64] as another camera would show it, [48, 48], and how much larger it is."""
    middle, scale = (SIDE + _ROOM) / 2, float(rng.uniform(0.85, 1.2))
    matrix = cv2.getRotationMatrix2D((middle, middle), rng.normal() * 6, scale)
    matrix[:, 2] += rng.uniform(-4, 4, 2) - _ROOM / 2
    if rng.random() < 0.5:
        matrix = np.array([[-1.0, 0, SIDE - 1], [0, 1, 0]]) @ np.vstack([matrix, (0, 0, 1)])
    out = cv2.warpAffine(mouth, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
    if rng.random() < 0.4:
        out = cv2.GaussianBlur(out, (0, 0), rng.uniform(0.4, 1.6))
    out = 255 * (out / np.float32(255)) ** np.exp(rng.normal() * 0.3)
    return out + rng.normal(size=out.shape) * rng.uniform(0, 5), scale


def draw(kinds: list[list[Person]], rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch of pictures [b, 48, 48] and openings [b] in UNITs: both kinds alike often."""
    seen, wanted = [], []
    for i in range(_BATCH):
        pool = kinds[i % len(kinds)]
        person = pool[rng.integers(len(pool))]
        frame = int(rng.integers(len(person.mouths)))
        picture, scale = moved(person.mouths[frame], rng)
        seen.append(picture.astype(np.float32))
        wanted.append(person.openings[frame] * scale / UNIT)
    return torch.from_numpy(np.stack(seen)), torch.tensor(wanted, dtype=torch.float32)


@torch.no_grad()
def examine(reader: LipReader, people: list[Person]) -> dict[str, float]:
    """Correlation of read and true opening within clips, and mean error over the crop's side."""
    reader.eval()
    room, agree, off = slice(_ROOM // 2, _ROOM // 2 + SIDE), [], []
    for person in people:
        read = UNIT * reader(torch.from_numpy(person.mouths[:, room, room].copy())).numpy()
        if person.openings.std() > 1e-3:
            agree.append(np.corrcoef(read, person.openings)[0, 1])
        off.append(np.abs(read - person.openings).mean())
    found = {"correlation": np.mean(agree), "least": np.min(agree), "error": np.mean(off)}
    return {"clips": len(people)} | {k: round(float(v), 4) for k, v in found.items()}


def train(kinds: list[list[Person]], *, steps: int) -> LipReader:
    """Train a reader for that many steps."""
    torch.manual_seed(0)
    rng, reader = np.random.default_rng(0), LipReader()
    optimiser = torch.optim.AdamW(reader.parameters(), 2e-3, weight_decay=0.05)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * min(1, (step + 1) / 50) * max(1 - step / steps, 0.01)
        pictures, wanted = draw(kinds, rng)
        loss = F.smooth_l1_loss(reader.train()(pictures), wanted, beta=0.1)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return reader


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the lip reader.")
    parser.add_argument("pairs", type=Path, help="training folder with real clips")
    parser.add_argument("out", type=Path, help="folder for the reader")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--held", default="", help="pack that a second reader is tested on, unseen")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    real, heads = real_people(arguments.pairs), rendered_people(_HEADS)
    pool = heads[:-_HELD_OUT]
    reader = train([real, pool], steps=arguments.steps)
    halves = {k: v.half() if v.is_floating_point() else v for k, v in reader.state_dict().items()}
    save_file(halves, arguments.out / "lip_reader.safetensors")
    figures = {"rendered": examine(reader, heads[-_HELD_OUT:])}
    unseen = [one for one in real if one.name.split()[0] == arguments.held]
    if unseen:
        seen = [one for one in real if one not in unseen]
        figures["real"] = examine(train([seen, pool], steps=arguments.steps), unseen)
    (arguments.out / "lip_reader.json").write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
