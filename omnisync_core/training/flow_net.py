"""Training of FlowNet3D, from a prepared folder (prepare.py) to its weights.

    python -m omnisync_core.training.flow_net PAIRS OUT --minutes 40 --held PAIRS --rig facekit.npz

Of half of every batch the truth is known: pictures moved by made-up smooth flows and, with --rig,
rendered heads that move. The other half are neighbouring frames of clips without any label: what
the flow brings back must look like the present (photometric, Charbonnier) and the flow be smooth
where the picture is (Jason et al. 2016; Wang et al. 2018). Goes on where it stopped; writes
OUT/flow.safetensors. With --held and --rig, OUT/judge.json: end-point errors in pixels of the
network, DIS and Lucas-Kanade on made-up flows over unseen faces and on other rendered heads.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from ..flow_net import FORMAT, FlowNet3D
from ..optical_flow import Estimator, backward_warp, dense_flow, lucas_kanade, resize_flow
from .heads import Head, HeadKit
from .locator import fit
from .pairs import load_shard
from .raster import SAMPLES, nearest, project
from .render import opening_of, posed, prepare, render
from .scene import Scene, Window, idle_track, pose_track

SIDE = 96
BATCH = 8
RATE = 2e-3
Truth = tuple[Tensor, Tensor, Tensor]
"""Two frames [3 SIDE SIDE] in [-1, 1] and the backward flow [2 SIDE SIDE] in pixels."""
# Of the rendered heads with true flow; those that judge begin at another seed.
_TAUGHT, _TAUGHT_HEADS, _JUDGED = 11_000, 150, 77_000
# By eye on the first hundred steps: less leaves noise in flat cheeks, more smears the lips.
_SMOOTH = 0.1


class Clips:
    """Faces of a prepared folder: stretches uint8 [f, s, s, 3]."""

    def __init__(self, folder: Path) -> None:
        shards = [load_shard(path) for path in sorted(folder.glob("rendered_*"))]
        self._clips = [shard[name] for shard in shards for name in ("source", "target")]

    def draw(self, rng: np.random.Generator, frames: int) -> Tensor:
        """Neighbouring frames f32 [f 3 SIDE SIDE] in [-1, 1], one part of the picture."""
        clips = self._clips[rng.integers(len(self._clips))]
        clip = clips[rng.integers(len(clips))]
        first = rng.integers(max(1, len(clip) - frames))
        y, x = rng.integers(clip.shape[1] - SIDE + 1, size=2)
        part = np.ascontiguousarray(clip[first : first + frames, y : y + SIDE, x : x + SIDE])
        return torch.from_numpy(part).permute(0, 3, 1, 2).float() / 127.5 - 1


def made_up_flow(rng: np.random.Generator) -> Tensor:
    """A smooth backward flow [2 SIDE SIDE]: shift, turn, size and a bend."""
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    angle, grow = rng.normal(0, 0.03), rng.normal(0, 0.02)
    dx, dy = rng.normal(0, 3, 2) * rng.random()
    whole = np.stack([dx + grow * x - angle * y, dy + grow * y + angle * x])
    bend = torch.from_numpy(rng.normal(0, 1.5 * rng.random(), (1, 2, 5, 5))).float()
    bend = F.interpolate(bend, (SIDE, SIDE), mode="bicubic", align_corners=True)[0]
    return torch.from_numpy(whole).float() + bend


def made_up_pair(clips: Clips, rng: np.random.Generator) -> Truth:
    """A picture, the same moved by a made-up flow in other light and noise, and the flow."""
    flow, previous = made_up_flow(rng), clips.draw(rng, 1)
    moved = backward_warp(previous, flow[None])
    light = (1 + rng.normal() * 0.05) * moved + rng.normal() * 0.03
    return previous[0], (light + torch.randn(light.shape) * 0.02)[0], flow


def _charbonnier(x: Tensor) -> Tensor:
    return (x * x + 1e-6).sqrt()


def loss_of(
    net: FlowNet3D, clips: Clips, rendered: Sequence[Truth], rng: np.random.Generator
) -> Tensor:
    """Half a batch with truth, a half of it rendered where there is any; half without."""
    known = [
        rendered[int(rng.integers(len(rendered)))]
        if rendered and i % 2
        else made_up_pair(clips, rng)
        for i in range(BATCH // 2)
    ]
    seen = [clips.draw(rng, 2) for _ in range(BATCH // 2)]
    pairs = torch.stack([*(torch.stack(pair[:2]) for pair in known), *seen])
    levels = net.levels(pairs[:, 0], pairs[:, 1])
    truth = torch.stack([flow for _, _, flow in known])
    total = truth.new_zeros(())
    for flow in levels:
        wanted = resize_flow(truth, *flow.shape[2:])
        scale = SIDE / flow.shape[2]  # errors in full pixels, whatever the level
        total = total + scale * _charbonnier(flow[: BATCH // 2] - wanted).mean() / len(levels)
    previous, current = pairs[BATCH // 2 :].unbind(1)
    flow = resize_flow(levels[-1][BATCH // 2 :], SIDE, SIDE)
    photometric = _charbonnier(backward_warp(previous, flow) - current).mean()
    return total + 4 * photometric + _SMOOTH * _roughness(flow, current)


def _roughness(flow: Tensor, picture: Tensor) -> Tensor:
    """Change of the flow from pixel to pixel, where the picture has no edge."""
    grey, total = picture.mean(1, keepdim=True), flow.new_zeros(())
    for axis in (2, 3):
        edge = grey.diff(dim=axis).abs()
        total = total + (_charbonnier(flow.diff(dim=axis)) * torch.exp(-10 * edge)).mean()
    return total


def rendered_pairs(kit: HeadKit, seed: int, *, heads: int, side: int = SIDE) -> Iterator[Truth]:
    """Heads that move and make faces, two pairs of moments each."""
    for number in range(heads):
        rng = np.random.default_rng(seed + number)
        head, scene = Head(kit, rng), Scene(rng)
        poses, faces = pose_track(rng, 9)[::4], idle_track(kit, rng, 9)[::4]
        faces = faces + np.linspace(0, 1, 3)[:, None] * rng.random() * 0.5 * kit.open_mouth()
        scale = side / 16.0  # of 26 cm of head, the face
        window = Window(-8.0, -6.0, scale, side, side)
        take = prepare(head, scene, poses[1], window)
        moments = []
        for pose, face in zip(poses, np.clip(faces, 0, 1), strict=True):
            verts = posed(head, kit.shape(head.rest, face), pose, head.body)
            screen = project(verts, scene.distance, window.left, window.top, scale * SAMPLES)
            picture = render(head, scene, face, pose=pose, window=window, take=take)
            grain = scene.finish.grain(rng, side, side)
            seen = scene.finish.apply(picture.linear, picture.lines, grain)
            moments.append((torch.from_numpy(seen).permute(2, 0, 1).float() / 127.5 - 1, screen))
        opening = opening_of(head, moments[-1][1], window)
        for (before, old), (after, new) in pairwise(moments):
            size = side * SAMPLES
            drawn = nearest(new, take.triangles, size, size, take.outside, opening)
            which, weights = (x[::SAMPLES, ::SAMPLES] for x in drawn[:2])
            drawn_here = (which >= 0)[..., None]
            weights = np.where(drawn_here, weights, 0)  # elsewhere they are what the memory held
            shares = np.concatenate([weights, drawn_here - weights.sum(-1, keepdims=True)], -1)
            way = (old - new)[take.triangles[which], :2] / SAMPLES  # [h w 3 2]
            flow = (shares[..., None] * way).sum(2)
            yield before, after, torch.from_numpy(flow).permute(2, 0, 1).float()


def judge(net: FlowNet3D, held: Path, rig: Path) -> dict[str, dict[str, float]]:
    """Mean end-point error in pixels, and milliseconds a pair, of each estimator on each truth."""
    rng, clips = np.random.default_rng(5), Clips(held)
    made: list[Truth] = []
    for _ in range(40):
        flow, previous = made_up_flow(rng), clips.draw(rng, 1)
        made.append((previous[0], backward_warp(previous, flow[None])[0], flow))
    rendered = list(rendered_pairs(HeadKit.load(rig), _JUDGED, heads=8))
    truths = {"made up": made, "rendered": rendered}
    estimators: dict[str, Estimator] = {
        "flownet3d": net.estimate,
        "dense_flow": dense_flow,
        "lucas_kanade": lucas_kanade,
        "nothing moves": lambda previous, current: torch.zeros(2, *current.shape[1:]),
    }
    found: dict[str, dict[str, float]] = {}
    for name, estimate in estimators.items():
        found[name], started, count = {}, time.process_time(), 0
        for kind, triples in truths.items():
            errors = [(estimate(a, b) - truth).norm(dim=0).mean() for a, b, truth in triples]
            found[name][kind] = round(float(torch.stack(errors).mean()), 3)
            count += len(errors)
        found[name]["ms"] = round(1000 * (time.process_time() - started) / count, 1)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("pairs", type=Path, help="a folder that prepare.py filled")
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=10, help="of CPU time")
    parser.add_argument("--held", type=Path, help="such a folder of heads never trained on")
    parser.add_argument("--rig", type=Path, help="facekit.npz, to render heads with true flow")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    clips, rendered = Clips(arguments.pairs), list[Truth]()
    if arguments.rig:
        rendered += rendered_pairs(HeadKit.load(arguments.rig), _TAUGHT, heads=_TAUGHT_HEADS)

    def step(rng: torch.Generator) -> Tensor:
        seed = int(torch.randint(2**31, (1,), generator=rng))
        return loss_of(net, clips, rendered, np.random.default_rng(seed))

    net, state = FlowNet3D(), arguments.out / "flow.pt"
    average = fit(
        net,
        step,
        state,
        minutes=arguments.minutes,
        rate=RATE,
        memory_format=torch.channels_last_3d,
    )
    weights = {key: value.half().contiguous() for key, value in average.state_dict().items()}
    save_file(weights, arguments.out / "flow.safetensors", metadata={"format": FORMAT})
    if arguments.held and arguments.rig:
        found = judge(
            FlowNet3D.load(arguments.out / "flow.safetensors"), arguments.held, arguments.rig
        )
        (arguments.out / "judge.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
