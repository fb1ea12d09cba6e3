"""What occlusion repair does, against exact truth: held-out rendered pairs with drawn occluders.

    omnisync prepare DATA/facekit.npz --voice VOICE.safetensors -o HELD --seed 900 --clips 120
    python benchmarks/occlusion.py HELD [--model MODEL] [--clips 40]

Clips of sixteen frames: the first is clear, then a thing that training never saw (cup, phone, leaf)
stands still before the mouth. Bands: the share of the mouth's ellipse that it covers. Rows: no
repair (the edit as it is), local (the visible mouth is edited), always (the face is completed
whatever is covered), auto (what ships); and the last three with the true mask in place of the one
found, which tells the mask's faults from the repair's. Columns, over the covered frames:

    inside    mean absolute difference to the source inside the thing (share > 0.9), of 255
    made      share of the asked-for change made on the mouth that can be seen (least squares)
    kept      that share over the same clips' without a thing
    mouth     mean absolute error of the visible mouth against the truth, of 255
    identity  mean absolute error of the rest of the crop against the source, of 255
    IoU       of the mask found and the true one at 0.5

With --videos, a second table: of every fifth of a video's first hundred frames, how many are taken
for covered as they are (more than the least that is repaired), and the IoU of a thing drawn over
every fifth of those. Then every fifth frame of the pairs, in the same way.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from curves import table
from einops import rearrange
from torch import Tensor

from omnisync_core.checkpoint import load_model
from omnisync_core.composite import take_crop
from omnisync_core.config import SyncOptions
from omnisync_core.editing import edit_window
from omnisync_core.guidance import MOUTH_CENTRE
from omnisync_core.media import probe_video, read_frames
from omnisync_core.model import FrameAudio, OmniSync
from omnisync_core.occluder_net import OccluderNet
from omnisync_core.occlusion import (
    LOCAL_FROM,
    OccluderSearch,
    OcclusionWatch,
    View,
    complete,
    in_front,
    kept_whole,
    mouth_area,
    uncover,
)
from omnisync_core.pipeline import track_mouth
from omnisync_core.training.occluders import HELD_OUT, draw_occluder
from omnisync_core.training.pairs import RATE, RenderedClip
from omnisync_core.training.prepare import load_pools

BANDS = ((0.10, 0.20), (0.20, 0.30), (0.30, 0.50))
ROWS = ("no repair", "local", "always", "auto", "true, local", "true, always", "true, auto")


@dataclass(frozen=True)
class Case:
    """A clip behind a thing: source, truth [f 3 s s] in [-1, 1], cover [f s s], sound; without the
    thing: clear, and its edit `free`."""

    clear: Tensor
    free: Tensor
    source: Tensor
    truth: Tensor
    cover: Tensor
    audio: FrameAudio


def _tensor(frames: np.ndarray) -> Tensor:
    return rearrange(torch.from_numpy(frames).float() / 127.5 - 1, "f h w c -> f c h w")


def make_case(model: OmniSync, clip: RenderedClip, band: tuple[float, float], seed: int) -> Case:
    """A held-out thing over a clip so that it covers that much of the mouth; the first is clear."""
    rng = np.random.default_rng((5, seed))
    frames, size = clip.source.shape[:2]
    area = mouth_area(size)
    middle = np.repeat(clip.mouth[:1], frames, axis=0)
    while True:
        thing = draw_occluder(rng, middle, size, kind=str(rng.choice(HELD_OUT)))
        still = np.repeat(thing.cover[:1], frames, axis=0)
        if band[0] <= float((torch.from_numpy(still[:1]) * area).sum() / area.sum()) < band[1]:
            break
    still[0] = 0
    pictures = np.repeat(thing.pictures[:1], frames, axis=0)
    thing = type(thing)(pictures, still)
    times = clip.start + np.arange(frames) / RATE
    tokens = torch.from_numpy(clip.voice.tokens[0]).float()
    audio = FrameAudio(
        tokens=tokens,
        reach=model.config.audio_reach,
        summary=tokens.mean(0),
        voiceprint=model.voiceprint(tokens[None])[0],
        times=torch.from_numpy(times).float(),
    )
    source, truth = thing.over(clip.source), thing.over(clip.target)
    cover = torch.from_numpy(still)
    clear = _tensor(clip.source)
    return Case(clear, edit(model, clear, audio), _tensor(source), _tensor(truth), cover, audio)


class Given:
    """Finds these masks [f s s] of a clip's frames, in order."""

    def __init__(self, masks: Tensor) -> None:
        self._masks = iter(masks)

    def find(
        self, crops: Tensor, clear: Tensor | None = None, before: Tensor | None = None
    ) -> Tensor:
        return torch.stack([next(self._masks) for _ in crops])


def search(net: OccluderNet, crops: Tensor) -> Tensor:
    """Masks [f s s] of a clip's crops [f 3 s s], as the product finds them."""
    looking = OccluderSearch(net)
    return torch.stack([looking.look(crop)[0] for crop in crops])


def look(row: str, masks: Tensor, case: Case) -> list[View]:
    """What the network sees and what stays, by row of the table, for masks [f s s] of the thing."""
    crops = case.source
    watch = OcclusionWatch(Given(masks))
    views = [watch.look(crop) for crop in crops]
    if row == "no repair":
        return [
            View("clear", view.ratio, crop, None) for view, crop in zip(views, crops, strict=True)
        ]
    if row == "auto":
        return views
    out = [View("clear", views[0].ratio, crops[0], None)]
    fill = uncover if row == "local" else complete
    for crop, mask in zip(crops[1:], masks[1:], strict=True):
        out.append(View("local", 0.0, fill(crop, mask, crops[0]), kept_whole(mask)))
    return out


def edit(model: OmniSync, source: Tensor, audio: FrameAudio) -> Tensor:
    noise = torch.randn(source.shape, generator=torch.Generator().manual_seed(0))
    return edit_window(model, source, noise, audio, options=SyncOptions())


def made(edited: Tensor, source: Tensor, truth: Tensor, weight: Tensor) -> tuple[float, float]:
    """Numerator and denominator of the least-squares share of the change, over frames 1 and on."""
    asked = (truth - source) * weight[:, None]
    return float(((edited - source) * asked)[1:].sum()), float((asked * (truth - source))[1:].sum())


def judge(model: OmniSync, cases: list[tuple[Case, Tensor]], row: str) -> list[str]:
    """A row of the table, from cases with the masks that were found in them."""
    sums = dict.fromkeys(("made", "asked", "free", "wanted"), 0.0)
    inside, mouth, rest, both, either = [], [], [], 0.0, 0.0
    for case, found in cases:
        masks = case.cover if row.startswith("true") else found
        masks = torch.stack([in_front(mask) for mask in masks])
        views = look(row.removeprefix("true, "), masks, case)
        edited = edit(model, torch.stack([view.source for view in views]), case.audio)
        for i, view in enumerate(views):
            if view.keep is not None:
                edited[i] = torch.lerp(edited[i], case.source[i], view.keep)
        area = mouth_area(case.source.shape[-1])
        seen = area * (case.cover < 0.05)
        change, asked = made(edited, case.source, case.truth, seen)
        sums["made"], sums["asked"] = sums["made"] + change, sums["asked"] + asked
        # The same pixels of the same clip without a thing: what the model does at its best.
        clear_truth = torch.where(case.cover[:, None] > 0, case.clear, case.truth)
        change, asked = made(case.free, case.clear, clear_truth, seen)
        sums["free"], sums["wanted"] = sums["free"] + change, sums["wanted"] + asked
        off = (edited - case.source).abs().mean(1)[1:] * 127.5
        wrong = (edited - case.truth).abs().mean(1)[1:] * 127.5
        inside.append(float(off[case.cover[1:] > 0.9].mean()))
        mouth.append(float(wrong[seen[1:] > 0].mean()))
        face = (seen[1:] == 0) & (case.cover[1:] == 0)
        rest.append(float(wrong[face].mean()))
        here, there = masks[1:] > 0.5, case.cover[1:] > 0.5
        both, either = both + float((here & there).sum()), either + float((here | there).sum())
    share, free = sums["made"] / sums["asked"], sums["free"] / sums["wanted"]
    figures = [np.mean(inside), share, share / free, np.mean(mouth), np.mean(rest), both / either]
    return [row, *(f"{value:.2f}" for value in figures)]


def crops_of(video: Path, size: int) -> Tensor:
    """Every fifth of the first hundred frames' crops [f 3 s s], where a mouth is found."""
    info = probe_video(video)
    frames = list(islice(read_frames(video, info=info), 100))
    track = track_mouth(frames, info.times[: len(frames)]).track
    pairs = list(zip(frames, track, strict=True))[::5]
    return torch.stack([take_crop(frame, box, size) for frame, box in pairs if box is not None])


def judge_clear(net: OccluderNet, name: str, shots: list[Tensor]) -> list[str]:
    """A row of the second table, from shots of crops [f 3 s s] with nothing in front."""
    rng = np.random.default_rng(1)
    count, wrong, both, either = 0, 0, 0.0, 0.0
    for crops in shots:
        looking, size = OccluderSearch(net), crops.shape[-1]
        for crop in crops:
            clear = looking.clear
            wrong += looking.look(crop)[1] > LOCAL_FROM
            if count % 5 == 0:
                middle = np.array([MOUTH_CENTRE]) * size
                thing = draw_occluder(rng, middle, size, kind=str(rng.choice(HELD_OUT)))
                picture = (rearrange(crop, "c h w -> h w c") + 1) * 127.5
                covered = _tensor(thing.over(picture.numpy()[None]))
                mask = net.find(covered, None if clear is None else clear[None])[0]
                here, there = in_front(mask).numpy() > 0.5, thing.cover[0] > 0.5
                both, either = both + (here & there).sum(), either + (here | there).sum()
            count += 1
    return [name, str(count), str(wrong), f"{both / either:.2f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pairs", type=Path, help="a prepared folder of held-out seeds")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--weights", type=Path, help="occluder weights; left out: those that ship")
    parser.add_argument("--clips", type=int, default=40, help="clips per band")
    parser.add_argument("--bands", type=int, nargs="*", default=[0, 1, 2], help="0, 1, 2 of them")
    parser.add_argument("--rows", nargs="*", default=list(ROWS), choices=ROWS)
    parser.add_argument("--videos", type=Path, nargs="*", default=[], help="for a second table")
    arguments = parser.parse_args()
    model, net = load_model(arguments.model), OccluderNet.load(arguments.weights)
    clips = load_pools(arguments.pairs).rendered
    rows = []
    for band in (BANDS[i] for i in arguments.bands):
        cases = [
            make_case(model, clips[i * len(clips) // arguments.clips], band, i)
            for i in range(arguments.clips)
        ]
        name = f"{band[0]:.0%}-{band[1]:.0%}"
        seen = [(case, search(net, case.source)) for case in cases]
        rows += [[name, *judge(model, seen, row)] for row in arguments.rows]
    header = ["covered", "repair", "inside", "made", "kept", "mouth", "identity", "IoU"]
    sys.stdout.write(table(header, rows))
    if arguments.videos:
        size = model.config.crop
        rows = [judge_clear(net, path.stem, [crops_of(path, size)]) for path in arguments.videos]
        shown = [_tensor(x[2::5]) for clip in clips for x in (clip.source, clip.target)]
        rows.append(judge_clear(net, "rendered", shown))
        sys.stdout.write("\n" + table(["clip", "clear crops", "taken for covered", "IoU"], rows))


if __name__ == "__main__":
    main()
