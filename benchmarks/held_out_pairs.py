"""How much of the asked-for change does a model make, on pairs that no training saw? In a minute.

    omnisync prepare DATA/facekit.npz --voice VOICE.safetensors -o HELD --seed 900 --clips 200
    python benchmarks/held_out_pairs.py MODEL HELD --data DATA

For following a training run; benchmarks/lip_sync.py judges the product. Aligned pairs, single
frames around the mouth, the noised source at t = 0.95 as sampling begins. Columns: squared error
(pictures in [-1, 1]) weighted around the mouth, of copying the source, of one prediction with the
right and with another voice, and of a second step at t = 0.5; share: the least-squares share of the
change from source to target that was made (1 is all; 0.5 is what a perfect eraser that hears
nothing would reach); sharpness: mean absolute vertical difference against the target's.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from curves import table
from einops import rearrange
from torch import Tensor

from omnisync_core.checkpoint import load_model
from omnisync_core.media import read_audio
from omnisync_core.model import OmniSync
from omnisync_core.training.batch import around_mouth
from omnisync_core.training.losses import mouth_weight
from omnisync_core.training.pairs import Pools, Voice, Window
from omnisync_core.training.prepare import HELD_OUT, load_pools
from omnisync_core.training.real import pack_folder

VIEW = 2 / 3  # of the crop: around the mouth, as in training
FIRST, SECOND = 0.95, 0.5


def real_pools(model: OmniSync, data: Path) -> Pools:
    """The held-out clips of every corpus folder, heard by the model's own encoder."""
    real = []
    for name, count in HELD_OUT.items():
        folder = data / "clips/train" / name
        names = list(np.load(folder / "landmarks.npz").files)[:count]
        for clip in pack_folder(folder, names=names):
            sound = torch.from_numpy(read_audio(folder / f"{clip.name}.mp4"))
            real.append((clip, Voice(model.encoder.encode(sound).numpy()[None])))
    config = model.config
    return Pools(rendered=[], real=real, size=config.crop, reach=config.audio_reach, real_share=1)


@torch.no_grad()
def judge(model: OmniSync, pools: Pools, count: int) -> list[str]:
    """One row of the table."""
    windows: list[Window] = []
    view = round(VIEW * model.config.crop)
    pools.drawn = pools.occluded = 0.0
    for i in range(count):
        rng = np.random.default_rng((9, i))
        windows.append(around_mouth(pools.draw(FIRST, 1, rng), view, rng))

    def stacked(name: str) -> Tensor:
        return torch.from_numpy(np.stack([getattr(w, name) for w in windows])).float()

    source, target = (
        rearrange(stacked(name) / 127.5 - 1, "b f h w c -> b f c h w")
        for name in ("source", "target")
    )
    weight = mouth_weight(stacked("mouth"), view, view) - 1
    noise = torch.randn(source.shape, generator=torch.Generator().manual_seed(0))
    tokens = [torch.from_numpy(np.ascontiguousarray(w.tokens)).float() for w in windows]
    voice = torch.cat([model.voiceprint(one[None]) for one in tokens])

    def predict(x: Tensor, t: float, heard: Tensor) -> Tensor:
        parts = [
            model.transformer(
                x[k], source[k], torch.full((len(x[k]),), t), heard[k], voice[k], x.new_zeros(1, 1)
            )
            for k in (slice(i, i + 32) for i in range(0, count, 32))
        ]
        return torch.cat(parts)

    def mean(value: Tensor) -> float:
        return float((value * weight).sum() / weight.expand_as(value).sum())

    x, heard = (1 - FIRST) * source + FIRST * noise, stacked("windows")
    right, wrong = predict(x, FIRST, heard), predict(x, FIRST, heard.roll(7, 0))
    between = right + SECOND / FIRST * (x - right)  # an Euler step along v = (x_t - x) / t
    second, asked = predict(between, SECOND, heard), target - source
    errors = [mean((one - target).square()) for one in (source, right, wrong, second)]
    shares = [mean((one - source) * asked) / mean(asked.square()) for one in (right, wrong, second)]

    def sharpness(picture: Tensor) -> float:
        steps = picture.diff(dim=-2).abs() * weight[..., 1:, :]
        return float(steps.sum())

    sharp = sharpness(second) / sharpness(target)
    return [*(f"{e:.4f}" for e in errors), *(f"{s:.2f}" for s in shares), f"{sharp:.2f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="embedded model or checkpoint")
    parser.add_argument("pairs", type=Path, help="a prepared folder of held-out seeds")
    parser.add_argument("--data", type=Path, help="also judge its held-out real clips")
    parser.add_argument("--count", type=int, default=128, help="windows of each kind")
    arguments = parser.parse_args()
    model = load_model(arguments.model).eval()
    rendered = load_pools(arguments.pairs)
    rendered.real = []
    rows = [["rendered", *judge(model, rendered, arguments.count)]]
    if arguments.data:
        rows.append(["real", *judge(model, real_pools(model, arguments.data), arguments.count)])
    header = ["pairs", "copy", "right voice", "wrong voice", "second step"]
    header += ["share right", "share wrong", "share second", "sharpness"]
    sys.stdout.write(table(header, rows))


if __name__ == "__main__":
    main()
