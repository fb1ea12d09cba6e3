"""Frames out of a video file, one at a time (the first step of the way).

In: a path. Out: uint8 RGB [height, width, 3], as a player shows them: rotation applied, alpha
ignored, more than 8 bits rounded to 8, interlaced pictures as they are. Memory: one frame, and one
segment while playing backwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .errors import UserError
from .ffmpeg import Ffmpeg, input_arguments
from .video_info import MATRICES, VideoInfo, first_stamp, probe_video

# Playing backwards keeps one segment in memory: at most this many frames and bytes (1080p: 43).
SEGMENT_FRAMES = 64
SEGMENT_BYTES = 256 * 2**20

# swscale's defaults brighten YCbCr -> RGB by 1.1 levels on average and leave 46 dB; these flags
# bring the round trip to 64 dB without a shift (720p, bt709). Planar RGB on the way halves the
# time.
_TO_RGB_FLAGS = "bicubic+accurate_rnd+full_chroma_int"


def read_frames(
    path: str | Path, *, start: int = 0, stop: int | None = None, info: VideoInfo | None = None
) -> Iterator[np.ndarray]:
    """Frames `start` to `stop` (exclusive; None: the end) as uint8 [height, width, 3].

    Every decoded frame comes once, whatever its time stamp says, at the size of the first one.
    `info` is the file's own `probe_video`, which is looked up when absent. Closing the iterator
    ends ffmpeg. Raises UserError as `probe_video` does, and when the file yields fewer frames than
    it did then.
    """
    info = info or probe_video(path)
    stop = info.frames if stop is None else min(stop, info.frames)
    if start < 0:
        raise ValueError(f"expected a first frame of 0 or more, got {start}")
    if start >= stop:
        return
    with Ffmpeg(_arguments(Path(path), info, start=start, count=stop - start)) as child:
        for number in range(start, stop):
            frame = np.empty((info.height, info.width, 3), dtype=np.uint8)
            if child.read_into(frame.data.cast("B")) < frame.nbytes:
                last = f"{info.times[number - 1]:.3f} s" if number else "none"
                raise UserError(
                    f"{path} yielded {number} frames where {info.frames} were counted (last good "
                    f"time: {last}); it changed or was damaged meanwhile: copy it again"
                )
            yield frame


def read_plan(
    path: str | Path, plan: np.ndarray, *, info: VideoInfo | None = None
) -> Iterator[np.ndarray]:
    """Frames in the order of `plan`, an int array [n] of frame numbers, in bounded memory.

    Rising runs are streamed, falling runs are decoded segment by segment from their end, and a clip
    that fits into one segment is decoded once. A frame that comes again may be the same array: do
    not write into it.
    """
    info = info or probe_video(path)
    if info.frames <= _segment(info) < len(plan):
        frames = list(read_frames(path, info=info))
        yield from (frames[number] for number in plan)
        return
    frame, shown = None, -1
    for first, last in _runs(plan):
        if frame is not None and first == last == shown:
            yield frame
            continue
        for frame in _read_run(path, first, last, info=info):
            yield frame
        shown = last


def _runs(plan: np.ndarray) -> Iterator[tuple[int, int]]:
    """The plan as (first, last) pieces, each going up or down in steps of one."""
    first = last = int(plan[0]) if len(plan) else 0
    step = 0
    for number in map(int, plan[1:]):
        move = number - last
        if abs(move) == 1 and step in (0, move):
            step = move
        else:
            yield first, last
            first, step = number, 0
        last = number
    if len(plan):
        yield first, last


def _segment(info: VideoInfo) -> int:
    return max(1, min(SEGMENT_FRAMES, SEGMENT_BYTES // (info.width * info.height * 3)))


def _read_run(path: str | Path, first: int, last: int, *, info: VideoInfo) -> Iterator[np.ndarray]:
    if first <= last:
        yield from read_frames(path, start=first, stop=last + 1, info=info)
        return
    size = _segment(info)
    for stop in range(first + 1, last, -size):
        segment = list(read_frames(path, start=max(last, stop - size), stop=stop, info=info))
        while segment:
            yield segment.pop()


def _arguments(path: Path, info: VideoInfo, *, start: int, count: int) -> list[str]:
    seek = _seek_time(path, info, start)
    filters = [] if start == 0 or seek else [f"select=gte(n\\,{start})"]
    matrix = MATRICES.get(info.display.matrix, "auto")
    scale = f"scale={info.width}:{info.height}:flags={_TO_RGB_FLAGS}:in_color_matrix={matrix}"
    filters += [scale, "format=gbrp", "format=rgb24"]
    arguments = ["-v", "error", *seek, *input_arguments(path), "-map", "0:V:0"]
    arguments += ["-fps_mode", "passthrough", "-vf", ",".join(filters)]
    return [*arguments, "-frames:v", str(count), "-f", "rawvideo", "pipe:1"]


def _seek_time(path: Path, info: VideoInfo, start: int) -> list[str]:
    """Arguments that seek to frame `start`, or none where the file has to be read from its start.

    A seek is believed only when the first frame after it bears its own time: some files have no
    usable index, or drop the pictures that lead a key frame.
    """
    if start == 0 or info.clock_start is None:
        return []
    # Halfway to the frame before, so that rounding cannot pick the wrong one.
    wanted = info.clock_start + float(info.times[start])
    gap = float(info.times[start] - info.times[start - 1])
    seek = round(wanted - gap / 2, 6)
    if seek <= 0:
        return []
    arguments = ["-ss", f"{seek:.6f}"]
    stamp = first_stamp([*arguments, *input_arguments(path)])
    return arguments if stamp is not None and abs(seek + stamp - wanted) < gap / 4 else []
