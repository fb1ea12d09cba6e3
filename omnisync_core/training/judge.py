"""Train the sync judge: mouths and sounds that belong together against shifted and foreign sounds.

    python -m omnisync_core.training.judge PAIRS JUDGE --minutes 10

PAIRS is a training folder (prepare.py): its rendered targets and real clips are in sync with their
sounds. JUDGE gets judge.safetensors and judge.json with the figures. --test, again a training
folder: heads, people and voices that the judge never saw.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from ..audio import log_mel
from ..errors import UserError
from ..evaluation.judge import FRAMES, MOST_LAG, SHARE, SIDE, SyncJudge, mel_around
from .pairs import RATE, load_shard
from .real import LIPS, MARGIN

_ROOM = 16  # pixels around what the judge sees, for shifts and turns in training
_RENDERED_SHARE = 0.5
_BATCH = 48


@dataclass
class Talk:
    """Mouths grey uint8 [f, 64, 64], the log-mel [n, 80] of their sound, the first frame's place
    in it (frames, may be broken)."""

    mouths: np.ndarray
    mel: Tensor
    start: float
    real: bool


def cut_mouths(crops: np.ndarray, centres: np.ndarray, side: float) -> np.ndarray:
    """Grey surroundings [f, 64, 64] of mouth centres [f, 2] in crops [f, h, w, 3].

    side: pixels of the crops' standard side. The judge sees the middle 48.
    """
    scale = SIDE / (SHARE * side)
    middle = (SIDE + _ROOM) / 2
    out = np.empty((len(crops), SIDE + _ROOM, SIDE + _ROOM), np.uint8)
    # One place for the whole stretch: the camera of the judge does not follow the lips.
    x, y = np.asarray(centres).mean(0)
    matrix = np.array([[scale, 0, middle - scale * x], [0, scale, middle - scale * y]])
    for i, crop in enumerate(crops):
        grey = cv2.cvtColor(np.ascontiguousarray(crop), cv2.COLOR_RGB2GRAY)
        out[i] = cv2.warpAffine(
            grey, matrix, out.shape[1:], flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE
        )
    return out


def load_talks(folder: Path) -> list[Talk]:
    """Every clip of a training folder with its sound."""
    mels = {
        name: log_mel(torch.from_numpy(samples.astype(np.float32) / 32767)[None])[0].half()
        for path in sorted(folder.glob("sounds_*.npz"))
        for name, samples in np.load(path).items()
    }
    talks = []
    for path in sorted(folder.glob("rendered_*")):
        shard = load_shard(path)
        for i, voice in enumerate(shard["voice"]):
            clip = shard["target"][i]
            mouths = cut_mouths(clip, shard["mouth"][i], clip.shape[1])
            talks.append(Talk(mouths, mels[str(voice)], float(shard["start"][i]) * RATE, False))
    heard = [path for path in sorted(folder.glob("real_*")) if "_unheard" not in path.name]
    for path in heard:
        pack = load_shard(path)
        for i, name in enumerate(pack["names"]):
            lips = np.asarray(pack["landmarks"][i])[:, LIPS].mean(1)
            mouths = cut_mouths(pack["crops"][i], lips, pack["crops"].shape[2] / MARGIN)
            talks.append(Talk(mouths, mels[str(name)], 0.0, True))
    if not talks:
        raise UserError(f"{folder} holds no prepared clips; make some with `omnisync prepare`.")
    return talks


def _moved(mouths: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A stretch [8, 64, 64] as another camera and light would show it: [8, 48, 48]."""
    middle = (SIDE + _ROOM) / 2
    turn = cv2.getRotationMatrix2D((middle, middle), rng.normal() * 6, rng.uniform(0.85, 1.2))
    turn[:, 2] += rng.uniform(-4, 4, 2) - _ROOM / 2
    if rng.random() < 0.5:
        turn = np.array([[-1.0, 0, SIDE - 1], [0, 1, 0]]) @ np.vstack([turn, (0, 0, 1)])
    border = cv2.BORDER_REPLICATE
    moved = [cv2.warpAffine(one, turn, (SIDE, SIDE), borderMode=border) for one in mouths]
    noise = rng.normal(size=(len(mouths), SIDE, SIDE)) * rng.uniform(0, 4)
    return np.clip(np.stack(moved) + noise, 0, 255).astype(np.uint8)


def _in_noise(mel: Tensor, rng: np.random.Generator) -> Tensor:
    """A log-mel louder or softer and, half of the time, above a floor of noise."""
    mel = mel + float(rng.normal() * 0.3)
    if rng.random() < 0.5:
        floor = torch.full((), float(rng.uniform(-2, 0.5)))  # from unheard to as loud as speech
        mel = torch.logaddexp(4 * mel, 4 * floor) / 4  # log_mel is a quarter of the logarithm
    return mel


def draw(pool: list[Talk], rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
    """Mouths [b, 8, 48, 48] and the sound at lags of -15 to 15 frames around them [b, 160, 80]."""
    seen, heard = [], []
    kinds = [[talk for talk in pool if talk.real is real] for real in (True, False)]
    for _ in range(count):
        kind = kinds[int(rng.random() < _RENDERED_SHARE)] or pool
        talk = kind[rng.integers(len(kind))]
        first = int(rng.integers(len(talk.mouths) - FRAMES + 1))
        seen.append(_moved(talk.mouths[first : first + FRAMES], rng))
        around = mel_around(talk.mel, talk.start + first - MOST_LAG, 2 * MOST_LAG + 1)
        heard.append(_in_noise(around.float(), rng))
    return torch.from_numpy(np.stack(seen)), torch.stack(heard)


def contrast(judge: SyncJudge, mouths: Tensor, mel: Tensor) -> Tensor:
    """Cross-entropy of finding each mouth's sound among its own shifts and all other sounds.

    A frame to either side of the truth counts as neither right nor wrong.
    """
    seen, heard = judge.see(mouths), judge.hear(mel)
    cosine = torch.einsum("bd,ckd->bck", seen, heard)
    logits = cosine * judge.scale.exp().clamp(max=50)
    # Masked after scaling: before it, the scale's gradient is zero times infinity, not a number.
    own = torch.eye(len(seen), dtype=torch.bool)[..., None]
    near = torch.zeros(heard.shape[1], dtype=torch.bool)
    near[[MOST_LAG - 1, MOST_LAG + 1]] = True
    logits = logits.masked_fill(own & near, -torch.inf).flatten(1)
    truth = torch.arange(len(seen)) * heard.shape[1] + MOST_LAG
    return F.cross_entropy(logits, truth)


def auc(true: np.ndarray, false: np.ndarray) -> float:
    """How often a true score is above a false one, a tie counting half."""
    return float(np.mean((true[:, None] > false) + 0.5 * (true[:, None] == false)))


@torch.no_grad()
def examine(judge: SyncJudge, talks: list[Talk]) -> dict[str, float]:
    """AUC of in-sync sound against shifted (3 to 15 frames) and foreign sound, for single windows
    and for whole clips, and the share of clips whose lag is found within one frame.

    talks: of at least two sounds.
    """
    judge.eval()
    rng, room = np.random.default_rng(0), slice(_ROOM // 2, _ROOM // 2 + SIDE)
    scores: dict[str, list[np.ndarray]] = {"true": [], "shifted": [], "foreign": []}
    right = []
    for talk in talks:
        starts = np.arange(len(talk.mouths) - FRAMES + 1)
        windows = np.stack([talk.mouths[s : s + FRAMES, room, room] for s in starts])
        seen = judge.see(torch.from_numpy(windows))
        strange = [one for one in talks if one.mel is not talk.mel]
        other = strange[rng.integers(len(strange))]
        off = int(rng.integers(3, MOST_LAG + 1) * rng.choice([-1, 1]))
        around = mel_around(talk.mel, talk.start - MOST_LAG, len(starts) + 2 * MOST_LAG)
        heard = judge.hear(around[None].float())[0]
        foreign = judge.hear(mel_around(other.mel, other.start, len(starts))[None].float())[0]
        fit = [(seen * heard[starts + k]).sum(1).numpy() for k in range(2 * MOST_LAG + 1)]
        scores["true"].append(fit[MOST_LAG])
        scores["shifted"].append(fit[MOST_LAG + off])
        scores["foreign"].append((seen * foreign).sum(1).numpy())
        right.append(abs(int(np.argmax([one.mean() for one in fit])) - MOST_LAG) <= 1)
    windows_of = {name: np.concatenate(parts) for name, parts in scores.items()}
    clips_of = {name: np.array([part.mean() for part in parts]) for name, parts in scores.items()}
    figures = {"clips": float(len(talks)), "lag_within_1_frame": float(np.mean(right))}
    for wrong in ("shifted", "foreign"):
        figures[f"window_auc_{wrong}"] = auc(windows_of["true"], windows_of[wrong])
        figures[f"clip_auc_{wrong}"] = auc(clips_of["true"], clips_of[wrong])
    return {name: round(value, 4) for name, value in figures.items()}


def train(pool: list[Talk], out: Path, *, minutes: float) -> SyncJudge:
    """Train a judge for that long; writes judge.safetensors and the curve judge.jsonl."""
    torch.manual_seed(0)
    rng, judge = np.random.default_rng(0), SyncJudge()
    optimiser = torch.optim.AdamW(judge.parameters(), 1e-3, weight_decay=0.05)
    started, step, losses = time.monotonic(), 0, []
    while (spent := (time.monotonic() - started) / (60 * minutes)) < 1:
        for group in optimiser.param_groups:
            group["lr"] = 1.5e-3 * min(1, (step + 1) / 100) * max(1 - spent, 0.02)
        loss = contrast(judge.train(), *draw(pool, rng, _BATCH))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        step += 1
        if step % 50 == 0:
            row = {"step": step, "minutes": round(spent * minutes, 2)}
            with (out / "judge.jsonl").open("a") as log:
                log.write(json.dumps({**row, "contrast": round(float(np.mean(losses)), 4)}) + "\n")
            losses = []
            _save(judge, out)
    _save(judge, out)
    return judge


def _save(judge: SyncJudge, out: Path) -> None:
    halves = {k: v.half() if v.is_floating_point() else v for k, v in judge.state_dict().items()}
    save_file(halves, out / "judge.tmp")
    (out / "judge.tmp").replace(out / "judge.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the sync judge.")
    parser.add_argument("pairs", type=Path, help="training folder")
    parser.add_argument("out", type=Path, help="folder for the judge")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--test", type=Path, help="training folder of unseen heads and people")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    judge = train(load_talks(arguments.pairs), arguments.out, minutes=arguments.minutes)
    if arguments.test is None:
        return
    talks = load_talks(arguments.test)
    figures = {
        name: examine(judge, some)
        for name, real in (("rendered", False), ("real", True))
        if len(some := [talk for talk in talks if talk.real is real]) > 1
    }
    (arguments.out / "judge.json").write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
