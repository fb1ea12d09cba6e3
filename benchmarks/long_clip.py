"""Does a face drift or jitter over minutes? With and without keyframes and memory of the past.

    python benchmarks/long_clip.py VIDEO VOICE --minutes 1 [--model MODEL] [--first 96]

The first frames of a clip, played forwards and backwards, with a voice that is repeated, as long as
asked for; nothing is written. Rows: what a window sees beside itself. Columns, over the crops:

    face     likeness to the clip's first source frame, without the mouth, over the source's own
             (anchoring.py), in the first and in the last ten seconds; 1 is the same person
    worst    the lowest such mean over ten seconds
    still    mean absolute difference to the source outside the mouth, of 255, first and last ten
             seconds
    jitter   mean absolute second difference in time over the middle half of the crop, of 255
             (how it shakes, not how it moves), first and last ten seconds; the source's in brackets
    again    windows edited again by the anchor
    s        seconds taken for each second of video
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from curves import table
from torch import Tensor

from omnisync_core.anchoring import likeness
from omnisync_core.audio import SAMPLE_RATE
from omnisync_core.checkpoint import load_model
from omnisync_core.composite import take_crop
from omnisync_core.config import SyncOptions
from omnisync_core.editing import edit_frames
from omnisync_core.guidance import mouth_map
from omnisync_core.media import probe_video, read_audio, read_frames
from omnisync_core.model import FrameAudio, OmniSync
from omnisync_core.pipeline import track_mouth
from omnisync_core.progress import Summary
from omnisync_core.region import Tracking

CONTEXTS = {
    "the window": {},
    "a keyframe every 30": {"keyframe_interval": 30},
    "7 past frames": {"replay": 7},
    "both": {"keyframe_interval": 30, "replay": 7},
}
_SPAN = 10.0  # seconds


@dataclass(frozen=True)
class LongClip:
    """Frames uint8 [n, h, w, 3], the order in which they are shown, and all that goes with it."""

    frames: np.ndarray
    order: np.ndarray
    tracking: Tracking
    audio: FrameAudio
    rate: float


@dataclass
class Figures:
    """Per frame: likeness, difference outside the mouth, how result and source shake."""

    face: list[float] = field(default_factory=list)
    still: list[float] = field(default_factory=list)
    jitter: list[float] = field(default_factory=list)
    own: list[float] = field(default_factory=list)


def load_clip(model: OmniSync, video: Path, voice: Path, *, minutes: float, first: int) -> LongClip:
    info = probe_video(video)
    frames = np.stack(list(islice(read_frames(video, info=info), first)))
    there_and_back = np.concatenate([np.arange(len(frames)), np.arange(len(frames) - 2, 0, -1)])
    order = np.resize(there_and_back, round(60 * minutes * float(info.rate)))
    tracking = track_mouth(frames, info.times[: len(frames)]).at(order)
    times = np.arange(len(order)) / float(info.rate)
    sound = np.resize(read_audio(voice, rate=SAMPLE_RATE), int(60 * minutes * SAMPLE_RATE))
    audio = model.encode_audio(torch.from_numpy(sound), torch.from_numpy(times))
    return LongClip(frames, order, tracking, audio, float(info.rate))


def measure(model: OmniSync, clip: LongClip, options: SyncOptions) -> tuple[Figures, Summary]:
    size, summary, figures = model.config.crop, Summary(), Figures()
    outside = 1 - mouth_map(size, size)[0, 0]
    inner = slice(size // 4, size - size // 4)
    shown = (clip.frames[i] for i in clip.order)
    edited = edit_frames(model, shown, clip.tracking, clip.audio, options=options, summary=summary)
    reference, past = None, []
    for i, frame in enumerate(edited):
        box = clip.tracking.track[i]
        if box is None:
            past = []
            continue
        pair = torch.stack([take_crop(x, box, size) for x in (frame, clip.frames[clip.order[i]])])
        reference = pair[1] if reference is None else reference
        like = likeness(pair, reference).tolist()
        figures.face.append(like[0] / like[1])
        apart = (pair[0] - pair[1]).abs().mean(0) * outside
        figures.still.append(float(apart.sum() / outside.sum()) * 127.5)
        past = [*past[-2:], pair[..., inner, inner]]
        if len(past) == 3:
            shake = _shake(past)
            figures.jitter.append(shake[0])
            figures.own.append(shake[1])
    return figures, summary


def _shake(three: list[Tensor]) -> list[float]:
    second = three[2] - 2 * three[1] + three[0]
    return (second.abs().mean((1, 2, 3)) * 127.5).tolist()


def row(name: str, figures: Figures, summary: Summary, *, rate: float, seconds: float) -> list[str]:
    span = max(1, min(round(_SPAN * rate), len(figures.face)))

    def ends(values: list[float], digits: int) -> str:
        return " / ".join(f"{np.mean(x):.{digits}f}" for x in (values[:span], values[-span:]))

    means = np.convolve(figures.face, np.full(span, 1 / span), "valid")
    return [
        name,
        ends(figures.face, 4),
        f"{means.min():.4f}",
        ends(figures.still, 2),
        f"{ends(figures.jitter, 2)} ({np.mean(figures.own):.2f})",
        str(summary.anchored),
        f"{seconds * rate / summary.frames:.1f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("video", type=Path)
    parser.add_argument("voice", type=Path)
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--first", type=int, default=96, help="frames of the video that are used")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--contexts", nargs="*", default=list(CONTEXTS), choices=CONTEXTS)
    arguments = parser.parse_args()
    model = load_model(arguments.model)
    clip = load_clip(
        model,
        arguments.video,
        arguments.voice,
        minutes=arguments.minutes,
        first=arguments.first,
    )
    rows = []
    for name in arguments.contexts:
        started = time.perf_counter()
        options = replace(SyncOptions(), **CONTEXTS[name])
        figures, summary = measure(model, clip, options)
        seconds = time.perf_counter() - started
        rows.append(row(name, figures, summary, rate=clip.rate, seconds=seconds))
        sys.stderr.write(f"{' | '.join(rows[-1])}\n")
    header = ["context", "face", "worst", "still", "jitter", "again", "s"]
    sys.stdout.write(table(header, rows))


if __name__ == "__main__":
    main()
