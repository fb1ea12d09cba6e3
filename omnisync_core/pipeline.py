"""The story: a video and a voice in, the same video with matching lips out.

    region -> audio -> flow init -> sampling -> own mouth -> composite -> video

Frames stream through. A first pass over the video finds the mouth in every frame (a few numbers are
kept of each), a second one edits window by window and writes, while a third reads a shot (or two
minutes of it) ahead for the speaker's own mouth; none ever holds the whole video.
"""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from itertools import count
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from . import __version__
from .audio import SAMPLE_RATE
from .composite import side_by_side
from .config import SyncOptions
from .editing import edit_frames
from .errors import UserError
from .flow_init import is_cut
from .locator import MouthLocator
from .media import (
    AudioSource,
    FrameWriter,
    check_output,
    match_length,
    probe_video,
    read_audio,
    read_frames,
    read_plan,
    remove_stale_parts,
)
from .model import OmniSync
from .progress import Callback, Progress, Summary
from .region import Box, Track, Tracking, parse_region, parse_speaker, smooth_track
from .resume import WorkFolder

# Cuts are looked for on thumbnails: they show in any size, and noise does not.
_THUMBNAIL = 64
# Of the sound in which several voices are mixed: what video files usually have.
_MIX_RATE = 48_000


def track_mouth(
    frames: Iterable[np.ndarray],
    times: np.ndarray,
    *,
    region: str = "auto",
    speaker: str = "auto",
    callback: Callback | None = None,
) -> Tracking:
    """Where the mouth is: frames uint8 [h, w, 3] in order, times [f] in seconds -> Tracking.

    region, speaker: see SyncOptions. Raises UserError for a region that does not fit the frames.
    """
    boxes: list[Box | None] = []
    cuts: list[int] = []
    given: Track | str | None = None
    before: Tensor | None = None
    locator: MouthLocator | None = None
    followed: Iterator[Box | None] = iter(())
    queue: deque[np.ndarray] = deque()
    for i, frame in enumerate(frames):
        if given is None:
            height, width = frame.shape[:2]
            wanted = parse_speaker(speaker, size=(width, height))
            given = parse_region(region, frames=len(times), width=width, height=height)
            if given == "auto":
                locator = MouthLocator.load()
                queued = (queue.popleft() for _ in count())
                followed = locator.follow(queued, speaker=wanted)
        small = _thumbnail(frame)
        if before is not None and is_cut(before, small):
            cuts.append(i)
        before = small
        if locator is not None:
            queue.append(frame)
            boxes.append(next(followed))
        if callback is not None:
            callback(Progress("locate", i + 1, len(times)))
    if isinstance(given, list):
        return Tracking(given, tuple(cuts))
    return Tracking(smooth_track(boxes, times[: len(boxes)], cuts), tuple(cuts))


def _thumbnail(frame: np.ndarray) -> Tensor:
    step = max(1, max(frame.shape[:2]) // _THUMBNAIL)
    return torch.from_numpy(frame[::step, ::step].copy()).permute(2, 0, 1).float() / 127.5 - 1


def sync_frames(
    model: OmniSync,
    frames: Sequence[np.ndarray] | np.ndarray,
    waveform: np.ndarray,
    times: np.ndarray,
    *,
    options: SyncOptions | None = None,
    callback: Callback | None = None,
    summary: Summary | None = None,
) -> np.ndarray:
    """Frames in memory: uint8 [f, h, w, 3] at times [f] s, mono waveform [n] at 16 kHz -> frames.

    Raises UserError when there are no frames or the times do not fit them.
    """
    options = options or SyncOptions()
    if len(frames) == 0 or len(frames) != len(times):
        raise UserError(
            f"Expected at least one frame and one time per frame; got {len(frames)} frames and "
            f"{len(times)} times."
        )
    tracking = track_mouth(
        frames, times, region=options.region, speaker=options.speaker, callback=callback
    )
    audio = model.encode_audio(torch.from_numpy(waveform), torch.from_numpy(times))
    edited = edit_frames(
        model,
        frames,
        tracking,
        audio,
        options=options,
        callback=callback,
        summary=summary,
        again=frames,
    )
    result = np.empty((len(frames), *frames[0].shape), np.uint8)  # one copy, not two
    for i, frame in enumerate(edited):
        result[i] = frame
    return result


def sync_video(
    model: OmniSync,
    video: str | Path,
    audio: AudioSource,
    output: str | Path,
    *,
    options: SyncOptions | None = None,
    callback: Callback | None = None,
    sound: AudioSource | None = None,
    others: Sequence[tuple[str, AudioSource]] = (),
    compare: str | Path | None = None,
    work: str | Path | None = None,
) -> Summary:
    """File to file: video path, audio (a path, or samples [channels, n] and their rate) -> output.

    sound: what the output plays where that is not the voice alone (with music, with another voice).
    others: further people in the same picture, (speaker, their voice) as options.speaker names
    them; without a sound, the output then plays all voices at once. Not together with work.
    compare: also write source and result side by side there. work: a folder, made if need be, that
    keeps finished windows while the run lasts; the same call after a kill goes on from them and
    gives the file of an uninterrupted run. Returns what was done. Raises UserError for bad input;
    whatever goes wrong, no half-written file is left. The summary is of the first speaker.
    """
    options, summary, started = options or SyncOptions(), Summary(), time.perf_counter()
    voices = [audio, *(voice for _, voice in others)]
    if others and work is not None:
        raise UserError(
            "A run with several speakers cannot be resumed; leave --resume out, or edit one "
            "speaker after the other."
        )
    if sound is None:
        sound = _mixed(voices) if others else audio
    paths = [path for path in (*voices, sound) if isinstance(path, (str, Path))]
    for path in (output, compare):
        if path is not None:  # now, and not after an hour's work
            check_output(path, inputs=[video, *paths])
    if compare is not None and Path(compare).absolute() == Path(output).absolute():
        raise UserError(
            f"expected two files, but the output and --compare are both {output}; rename one"
        )
    info = probe_video(video)
    summary.damaged = info.damaged
    for speaker in (options.speaker, *(speaker for speaker, _ in others)):
        parse_speaker(speaker, size=(info.width, info.height))
    waveforms = [read_audio(voice, rate=SAMPLE_RATE) for voice in voices]
    longest = max(map(len, waveforms))
    plan = match_length(info, longest / SAMPLE_RATE, options.length)
    started = summary.add_time("read", started)
    shown: deque[np.ndarray] = deque()  # source frames between reading and writing, for compare

    def source() -> Iterator[np.ndarray]:
        for frame in read_plan(video, plan.frames, info=info):
            if compare is not None:
                shown.append(frame)
            yield frame

    writer = {
        "height": info.height,
        "rate": info.rate,
        "times": plan.times if info.variable_rate else None,
        "audio": sound,
        "seconds": plan.duration,
        "display": info.display,
        "metadata": {"omnisync_model": model.config.name},
    }
    with ExitStack() as files:
        kept = None
        if work is not None:
            key = _run_key(model, video, waveforms[0], options)
            kept = files.enter_context(WorkFolder(Path(work), key))
            for path in filter(None, (output, compare)):
                remove_stale_parts(path)
        found = kept and kept.tracking()
        if not found:
            pictures = read_frames(video, info=info)
            found = track_mouth(
                pictures,
                info.times,
                region=options.region,
                speaker=options.speaker,
                callback=callback,
            )
            if kept:
                kept.keep_tracking(found)
        started = summary.add_time("locate", started)
        times = torch.from_numpy(plan.times)
        heard, *more = (model.encode_audio(torch.from_numpy(one), times) for one in waveforms)
        waveforms.clear()  # of half an hour, 115 MB each; the tokens are half of that
        started = summary.add_time("audio", started)
        frames = source()
        for (speaker, _), heard_too in zip(others, more, strict=True):
            frames = edit_frames(
                model,
                frames,
                track_mouth(
                    read_frames(video, info=info), info.times, speaker=speaker, callback=callback
                ).at(plan.frames),
                heard_too,
                options=options,
                again=read_plan(video, plan.frames, info=info),
            )
        edited = edit_frames(
            model,
            frames,
            found.at(plan.frames),
            heard,
            options=options,
            callback=callback,
            summary=summary,
            work=kept,
            again=read_plan(video, plan.frames, info=info),
        )
        result = files.enter_context(
            FrameWriter(output, width=info.width, lossless=options.lossless, **writer)
        )
        both = compare and files.enter_context(FrameWriter(compare, width=2 * info.width, **writer))
        for frame in edited:
            result.write(frame)
            if both:
                both.write(side_by_side(shown.popleft(), frame))
    summary.add_time("edit", started)
    return summary


def _mixed(voices: Sequence[AudioSource]) -> AudioSource:
    """Several voices at once: (samples [1, n], rate)."""
    takes = [read_audio(voice, rate=_MIX_RATE) for voice in voices]
    mixed = np.zeros((1, max(map(len, takes))), np.float32)
    for take in takes:
        mixed[0, : len(take)] += take
    return mixed / max(1.0, float(np.abs(mixed).max())), _MIX_RATE


def _run_key(
    model: OmniSync, video: str | Path, waveform: np.ndarray, options: SyncOptions
) -> dict[str, object]:
    """Everything that a result depends on, small enough to compare."""
    file = Path(video).resolve()
    weights = hashlib.sha256()
    for tensor in model.state_dict().values():
        weights.update(tensor.cpu().contiguous().view(torch.uint8).numpy().data)
    region = Path(options.region)
    return {
        "version": __version__,
        "video": [str(file), file.stat().st_size, file.stat().st_mtime_ns],
        "voice": hashlib.sha256(np.ascontiguousarray(waveform).data).hexdigest(),
        "model": weights.hexdigest(),
        "options": asdict(options),
        "region": region.read_text() if region.suffix == ".json" else "",
    }
