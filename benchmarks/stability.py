"""How steady is the picture: noise, start time and window against seams and flicker.

    python benchmarks/lip_sync.py make OUT --sources          # rendered heads with true lips
    python benchmarks/stability.py OUT [--model MODEL] [--heads 4] [--steps 1] [--guidance 1]

Over the mouth of held-out rendered heads (the middle half of the standard crop), truth known:

    error    mean absolute difference to the truth, of 255
    motion   mean absolute error of the change from frame to frame, of 255
    seams    that motion error where windows meet (their overlap and one frame on either side) over
             the motion error elsewhere; 1 is an invisible seam. In the table of windows a frame's
             error counts relative to the same frame's in the other rows, where it is not at a seam:
             the words that happen to be spoken at the seams are not the seams' fault
    silence  change from frame to frame while the voice is silent, over the truth's own
    sharp    mean absolute Laplacian, over the truth's
    face     likeness of the crop, without the mouth, to the clip's first source frame, over the
             source's own (see anchoring.py); 1 is the same person
    pose     distance between the boxes (centre and side) that the locator finds in the result and
             in the source, % of the side; in brackets the truth's, whose head moves as the source's

Tables: kinds of noise (warped along the flow, independent, the same in every frame) by tau;
windows, each overlapping the next by a quarter as the defaults do; and what a window sees beside
itself: source keyframes, memory of past windows.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from curves import loudness, table
from pairing import read_sound
from torch import Tensor

from omnisync_core.anchoring import likeness
from omnisync_core.checkpoint import load_model
from omnisync_core.composite import take_crop
from omnisync_core.config import SyncOptions
from omnisync_core.editing import FlowNoise, edit_frames
from omnisync_core.locator import MouthLocator
from omnisync_core.media import probe_video, read_frames
from omnisync_core.model import FrameAudio, OmniSync
from omnisync_core.optical_flow import estimator
from omnisync_core.pipeline import track_mouth
from omnisync_core.region import Tracking
from omnisync_core.windows import plan_windows

_SILENT = -3.5  # log10 of energy below the loudest, as for `moving in silence` in curves.py


@dataclass(frozen=True)
class Head:
    """A rendered clip: source and true frames, where the mouth is, the voice, silent frames [f]."""

    source: np.ndarray
    truth: np.ndarray
    tracking: Tracking
    audio: FrameAudio
    silent: np.ndarray


def load_head(folder: Path, model: OmniSync) -> Head:
    info = probe_video(folder / "source.mp4")
    source = np.stack(list(read_frames(folder / "source.mp4", info=info)))
    truth = np.stack(list(read_frames(folder / "truth.mp4")))
    voice = read_sound(folder / "voice.wav").astype(np.float32)
    level = loudness(voice)
    quiet = np.interp(info.times, np.arange(len(level)) / 100, level) < level.max() + _SILENT
    return Head(
        source,
        truth,
        track_mouth(source, info.times),
        model.encode_audio(torch.from_numpy(voice), torch.from_numpy(info.times)),
        quiet,
    )


def noise_of(kind: str, size: int, options: SyncOptions) -> Callable[[int, Tensor], Tensor]:
    seed = options.seed
    if kind == "warped":
        return FlowNoise(size, seed, flow=estimator(options.flow))
    still = torch.randn(3, size, size, generator=torch.Generator().manual_seed(seed))
    if kind == "same":
        return lambda i, crop: still
    return lambda i, crop: torch.randn(
        3, size, size, generator=torch.Generator().manual_seed(seed * 100_003 + i)
    )


def mouths(frames: np.ndarray, tracking: Tracking, size: int) -> np.ndarray:
    """The middle half of the crops, in grey levels: [f, n, n, 3]; 0 where there is no mouth."""
    out = np.zeros((len(frames), size // 2, size // 2, 3), np.float32)
    for i, (frame, box) in enumerate(zip(frames, tracking.track, strict=True)):
        if box is not None:
            crop = take_crop(frame, box, size)[
                :, size // 4 : -(size // 4), size // 4 : -(size // 4)
            ]
            out[i] = (crop.permute(1, 2, 0).numpy() + 1) * 127.5
    return out


def measure(model: OmniSync, head: Head, options: SyncOptions, kind: str) -> dict[str, np.ndarray]:
    """Per frame but the first: what `row` makes its columns of."""
    size = model.config.crop
    edited = edit_frames(
        model,
        head.source,
        head.tracking,
        head.audio,
        options=options,
        noise=noise_of(kind, size, options),
    )
    edited = np.stack(list(edited))
    result = mouths(edited, head.tracking, size)
    truth = mouths(head.truth, head.tracking, size)
    seam = np.zeros(len(result), bool)
    for start, stop in head.tracking.runs():
        plan = plan_windows(stop - start, window=options.window, overlap=options.overlap)
        for window in plan[1:]:
            first = start + window.start
            seam[max(0, first) : first + options.overlap + 1] = True
    change, true = np.diff(result, axis=0), np.diff(truth, axis=0)
    return {
        "error": np.abs(result - truth).mean((1, 2, 3))[1:],
        "motion": np.abs(change - true).mean((1, 2, 3)),
        "change": np.abs(change).mean((1, 2, 3)),
        "true": np.abs(true).mean((1, 2, 3)),
        "sharp": sharpness(result)[1:],
        "true sharp": sharpness(truth)[1:],
        "face": faces(edited, head.source, head.tracking, size)[1:],
        "pose": pose_errors(edited, head.source, head.tracking)[1:],
        "true pose": pose_errors(head.truth, head.source, head.tracking)[1:],
        "seam": seam[1:],
        "silent": head.silent[1:],
    }


def faces(edited: np.ndarray, source: np.ndarray, tracking: Tracking, size: int) -> np.ndarray:
    """Likeness to the first source frame, of the edit over that of the source: [f], NaN without a
    mouth."""
    kept, first = np.full(len(edited), np.nan), None
    for i, box in enumerate(tracking.track):
        if box is None:
            continue
        pair = torch.stack([take_crop(frame, box, size) for frame in (edited[i], source[i])])
        first = pair[1] if first is None else first
        of_edit, of_source = likeness(pair, first).tolist()
        kept[i] = of_edit / of_source
    return kept


def pose_errors(frames: np.ndarray, source: np.ndarray, tracking: Tracking) -> np.ndarray:
    """How far the locator's boxes lie from those of the source, in % of the side: [f], NaN where it
    sees no mouth."""
    locator, errors = MouthLocator.load(), np.full(len(frames), np.nan)
    for i, box in enumerate(tracking.track):
        if box is None:
            continue
        found, own = (locator.locate(frame, box) for frame in (frames[i], source[i]))
        if found and own:
            apart = (found.cx - own.cx, found.cy - own.cy, found.side - own.side)
            errors[i] = 100 * np.linalg.norm(apart) / own.side
    return errors


def sharpness(frames: np.ndarray) -> np.ndarray:
    """Mean absolute Laplacian per frame: [f]."""
    return np.array([np.abs(cv2.Laplacian(frame, cv2.CV_32F)).mean() for frame in frames])


def measure_all(
    model: OmniSync, heads: list[Head], options: SyncOptions, kind: str
) -> dict[str, np.ndarray]:
    """The frames of all heads, one after the other."""
    parts = [measure(model, head, options, kind) for head in heads]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def usual_motion(runs: list[dict[str, np.ndarray]]) -> np.ndarray:
    """The motion error of every frame in the runs that have no seam there; NaN if all have."""
    motion = np.array([run["motion"] for run in runs])
    elsewhere = ~np.array([run["seam"] for run in runs])
    counts = elsewhere.sum(0)
    return np.where(counts > 0, (motion * elsewhere).sum(0) / np.maximum(counts, 1), np.nan)


def row(all_of: dict[str, np.ndarray], usual: np.ndarray | None = None) -> list[str]:
    """The columns of a table. usual: see `usual_motion`; None: frames count as they are."""
    seam, silent = all_of["seam"], all_of["silent"]
    motion = all_of["motion"] if usual is None else all_of["motion"] / usual
    seams = np.nanmean(motion[seam]) / np.nanmean(motion[~seam])
    quiet = all_of["change"][silent].mean() / all_of["true"][silent].mean()
    sharp = all_of["sharp"].mean() / all_of["true sharp"].mean()
    figures = [all_of["error"].mean(), all_of["motion"].mean(), seams, quiet, sharp]
    pose, true = (np.nanmean(all_of[name]) for name in ("pose", "true pose"))
    faces = f"{np.nanmean(all_of['face']):.4f}"
    return [*(f"{value:.2f}" for value in figures), faces, f"{pose:.2f} ({true:.2f})"]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path, help="a folder that lip_sync.py filled")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--steps", type=int, default=SyncOptions.steps)
    parser.add_argument("--guidance", type=float, default=SyncOptions.spatial_scale)
    parser.add_argument("--flow", default=SyncOptions.flow, help="as of `omnisync sync`")
    parser.add_argument("--taus", type=float, nargs="*", default=[0.6, 0.7, 0.8, 0.92, 1.0])
    parser.add_argument("--windows", type=int, nargs="*", default=[8, 16, 32, 48])
    arguments = parser.parse_args()
    model = load_model(arguments.model)
    folders = sorted((arguments.out / "rendered").glob("*/truth.mp4"))[: arguments.heads]
    heads = [load_head(path.parent, model) for path in folders]
    scale = arguments.guidance
    options = SyncOptions(
        steps=arguments.steps, spatial_scale=scale, temporal_scale=scale, flow=arguments.flow
    )
    columns = ["error", "motion", "seams", "silence", "sharp", "face", "pose"]
    rows = [
        [kind, f"{tau:.2f}", *row(measure_all(model, heads, replace(options, tau=tau), kind))]
        for kind in ("warped", "independent", "same")
        for tau in arguments.taus
    ]
    sys.stdout.write(table(["noise", "tau", *columns], rows) + "\n")
    runs = [
        measure_all(model, heads, replace(options, window=n, overlap=n // 4), "warped")
        for n in arguments.windows
    ]
    usual = usual_motion(runs) if len(runs) > 1 else None
    rows = [[str(n), *row(run, usual)] for n, run in zip(arguments.windows, runs, strict=True)]
    sys.stdout.write(table(["window", *columns], rows) + "\n")
    contexts = {
        "the window": {},
        "a keyframe every 30": {"keyframe_interval": 30, "identity_floor": 0.0},
        "7 past frames": {"replay": 7},
        "both": {"keyframe_interval": 30, "identity_floor": 0.0, "replay": 7},
    }
    rows = [
        [name, *row(measure_all(model, heads, replace(options, **change), "warped"))]
        for name, change in contexts.items()
    ]
    sys.stdout.write(table(["context", *columns], rows))


if __name__ == "__main__":
    main()
