"""The story: a video and a voice in, the same video with matching lips out.

    region -> audio -> flow init -> sampling -> composite -> video

Frames stream through. A first pass over the video finds the mouth in every frame (a few numbers are
kept of each), a second one edits window by window and writes; neither ever holds the whole video.
"""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from . import __version__
from .audio import SAMPLE_RATE
from .composite import paste_crop, side_by_side, take_crop
from .config import SyncOptions
from .errors import UserError
from .flow_init import NoiseStream, is_cut, start_point
from .guidance import mouth_map, st_cfg
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
from .model import FrameAudio, OmniSync
from .region import Box, Track, Tracking, parse_region, parse_speaker, smooth_track
from .resume import Position, Waiting, WorkFolder, round_edit
from .sampler import Step, sample, time_grid
from .windows import plan_windows

# Cuts are looked for on thumbnails: they show in any size, and noise does not.
_THUMBNAIL = 64


@dataclass(frozen=True)
class Progress:
    """Where a run stands; a callback gets one after every frame located and every sampling step."""

    stage: str
    """"locate" or "edit"."""
    done: float
    """Frames finished; between whole numbers while a window is being sampled."""
    total: int
    """Frames in all."""
    preview: Tensor | None = None
    """The mouth crop as it is now, [3 h w] in [-1, 1], or None."""


Callback = Callable[[Progress], None]
"""May raise to cancel: nothing half-written remains."""


@dataclass
class Summary:
    """What a run did."""

    frames: int = 0
    """Frames written."""
    edited: int = 0
    """Frames with new lips; the others passed through unchanged."""
    windows: int = 0
    """Windows sampled."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall seconds per stage; "edit" holds "flow init", "sampling", "composite" and the writing."""

    def add_time(self, stage: str, started: float) -> float:
        """Book the time since started (time.perf_counter) under a stage; returns the time now."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - started
        return now


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
    wanted = parse_speaker(speaker)
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


def edit_window(
    model: OmniSync,
    source: Tensor,
    noise: Tensor,
    audio: FrameAudio,
    *,
    options: SyncOptions,
    generator: torch.Generator | None = None,
    callback: Callable[[Step], None] | None = None,
) -> Tensor:
    """Flow init and guided sampling of one window: source and noise [f 3 h w] -> edited [f 3 h w].

    source in [-1, 1]; noise unit Gaussian; audio of the same frames.
    """
    device = next(model.parameters()).device
    source, noise = source[None].to(device), noise[None].to(device)
    velocity = st_cfg(
        lambda x, t, names: model.velocities(x, t, source, audio, names),
        spatial_scale=options.spatial_scale,
        temporal_scale=options.temporal_scale,
        profile=options.profile,
        mouth_map=None if _unguided(options) else mouth_map(*source.shape[-2:]).to(device),
    )
    edited = sample(
        velocity,
        start_point(source, noise, options.tau),
        time_grid(options.steps, options.tau),
        solver=options.solver,
        churn=options.churn,
        generator=generator,
        callback=callback,
    )
    return edited[0].clamp(-1, 1).cpu()


def _unguided(options: SyncOptions) -> bool:
    """Whether the scales ask for the plain conditional network: one pass per step, no map."""
    return options.profile == "constant" and options.spatial_scale == options.temporal_scale == 1


def edit_frames(
    model: OmniSync,
    frames: Iterable[np.ndarray],
    tracking: Tracking,
    audio: FrameAudio,
    *,
    options: SyncOptions,
    noise: Callable[[int, Tensor], Tensor] | None = None,
    callback: Callback | None = None,
    summary: Summary | None = None,
    work: WorkFolder | None = None,
) -> Iterator[np.ndarray]:
    """Edited frames uint8 [h, w, 3], in order, as many as came in; only a window is held at a time.

    noise(i, crop) gives the noise [3 s s] of frame i; None is a FlowNoise of options.seed. work:
    goes on from what is finished there, and keeps what gets finished; not with a noise of your own.
    """
    if noise is not None and work is not None:
        raise ValueError("expected noise or a work folder, got both: the folder keeps a FlowNoise")
    noise = noise or FlowNoise(model.config.crop, options.seed)
    summary = summary or Summary()
    editor = _Editor(model, audio, options, noise, callback, summary, tracking, work)
    return editor.stream(iter(frames))


class FlowNoise:
    """Noise that moves with the picture, for frames asked for in order: (i, crop) -> [3 s s].

    Frames that are left out (no mouth) are skipped; the noise depends on seed and frame alone.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.stream = NoiseStream(seed, (3, size, size))
        self._mask = mouth_map(size, size)[0, 0]

    def __call__(self, i: int, crop: Tensor) -> Tensor:
        while self.stream.state().index < i:
            self.stream.skip()
        return self.stream.next(crop, self._mask)


@dataclass
class _Held:
    """A frame waiting for its windows."""

    frame: np.ndarray
    crop: Tensor
    noise: Tensor
    edited: Tensor


@dataclass
class _Editor:
    """The state of one stream: the frames that later windows still need."""

    model: OmniSync
    audio: FrameAudio
    options: SyncOptions
    noise: Callable[[int, Tensor], Tensor]
    callback: Callback | None
    summary: Summary
    tracking: Tracking
    work: WorkFolder | None

    def stream(self, frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        done = 0
        for start, stop in self.tracking.runs():
            yield from self._pass_through(frames, done, start)
            yield from self._edit_run(frames, start, stop)
            done = stop
        yield from self._pass_through(frames, done, len(self.tracking.track))

    def _pass_through(self, frames: Iterator[np.ndarray], start: int, stop: int):
        for i in range(start, stop):
            self._report(i + 1)
            self.summary.frames += 1
            yield next(frames)

    def _edit_run(self, frames: Iterator[np.ndarray], start: int, stop: int):
        held: dict[int, _Held] = {}
        plan = plan_windows(stop - start, window=self.options.window, overlap=self.options.overlap)
        for k, window in enumerate(plan):
            first, last = start + window.start, start + window.stop
            # What the next window does not need is finished.
            until = start + plan[k + 1].start if k + 1 < len(plan) else stop
            position = self.work.position if self.work else None
            if position and until <= position.frame:
                yield from self._finish_kept(frames, first, until)
                continue
            if position and first == position.frame:
                held = self._restore(frames, position)
            begin = max([first, *(j + 1 for j in held)])
            for i in range(begin, last):
                held[i] = self._hold(i, next(frames))
            self._sample(first, last, window.weights, held, begin=begin)
            finished = {i: held.pop(i) for i in range(min(held), until)}
            for one in finished.values():
                one.edited = round_edit(one.crop, one.edited)
            if self.work:
                self._keep(self.work, finished, until, list(held.values()))
            for i, one in finished.items():
                yield self._finish(i, one)

    def _finish_kept(self, frames: Iterator[np.ndarray], first: int, until: int):
        """Frames that an earlier run edited."""
        assert self.work is not None
        for i in range(first, until):
            frame = next(frames)
            crop = take_crop(frame, self._box(i), self.model.config.crop)
            self._report(i + 1)
            yield self._finish(i, _Held(frame, crop, crop, self.work.next_edit(crop)))

    def _restore(self, frames: Iterator[np.ndarray], position: Position) -> dict[int, _Held]:
        """The frames that waited for the next window when an earlier run ended."""
        assert isinstance(self.noise, FlowNoise)
        self.noise.stream.restore(position.noise)
        held = {}
        for i, waiting in enumerate(position.waiting, position.frame):
            frame = next(frames)
            crop = take_crop(frame, self._box(i), self.model.config.crop)
            held[i] = _Held(frame, crop, waiting.noise, waiting.edited)
        return held

    def _keep(
        self, work: WorkFolder, finished: dict[int, _Held], until: int, waiting: list[_Held]
    ) -> None:
        assert isinstance(self.noise, FlowNoise)
        for one in finished.values():
            work.keep_edit(one.crop, one.edited)
        kept = [Waiting(one.noise, one.edited) for one in waiting]
        work.keep_position(Position(until, kept, self.noise.stream.state()))

    def _hold(self, i: int, frame: np.ndarray) -> _Held:
        started = time.perf_counter()
        crop = take_crop(frame, self._box(i), self.model.config.crop)
        held = _Held(frame, crop, self.noise(i, crop), torch.zeros_like(crop))
        self.summary.add_time("flow init", started)
        return held

    def _box(self, i: int) -> Box:
        box = self.tracking.track[i]
        assert box is not None  # runs() leaves such frames out
        return box

    def _sample(
        self, first: int, last: int, weights: np.ndarray, held: dict[int, _Held], *, begin: int
    ) -> None:
        """Edit frames first..last - 1; those before begin were in the window before as well."""
        started = time.perf_counter()
        window = [held[i] for i in range(first, last)]

        def report(step: Step) -> None:
            share = (step.index + 1) / step.total
            self._report(begin + share * (last - begin), step.x[0, -1].float().cpu())

        edited = edit_window(
            self.model,
            torch.stack([one.crop for one in window]),
            torch.stack([one.noise for one in window]),
            self.audio.span(first, last),
            options=self.options,
            # From the seed and the window's place: the same whatever ran before.
            generator=torch.Generator().manual_seed(
                (self.options.seed * 1_000_003 + first) % 2**63
            ),
            callback=report,
        )
        for one, result, weight in zip(window, edited, weights, strict=True):
            one.edited += float(weight) * result
        self.summary.windows += 1
        self.summary.add_time("sampling", started)

    def _finish(self, i: int, held: _Held) -> np.ndarray:
        started = time.perf_counter()
        result = paste_crop(held.frame, self._box(i), held.crop, held.edited)
        self.summary.frames += 1
        self.summary.edited += 1
        self.summary.add_time("composite", started)
        return result

    def _report(self, done: float, preview: Tensor | None = None) -> None:
        if self.callback is not None:
            self.callback(Progress("edit", done, len(self.tracking.track), preview))


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
        model, frames, tracking, audio, options=options, callback=callback, summary=summary
    )
    return np.stack(list(edited))


def sync_video(
    model: OmniSync,
    video: str | Path,
    audio: AudioSource,
    output: str | Path,
    *,
    options: SyncOptions | None = None,
    callback: Callback | None = None,
    compare: str | Path | None = None,
    work: str | Path | None = None,
) -> Summary:
    """File to file: video path, audio (a path, or samples [channels, n] and their rate) -> output.

    compare: also write source and result side by side there. work: a folder, made if need be, that
    keeps finished windows while the run lasts; the same call after a kill goes on from them and
    gives the file of an uninterrupted run. Returns what was done. Raises UserError for bad input;
    whatever goes wrong, no half-written file is left.
    """
    options, summary, started = options or SyncOptions(), Summary(), time.perf_counter()
    paths = [audio] if isinstance(audio, (str, Path)) else []
    for path in (output, compare):
        if path is not None:  # now, and not after an hour's work
            check_output(path, inputs=[video, *paths])
    if compare is not None and Path(compare).absolute() == Path(output).absolute():
        raise UserError(
            f"expected two files, but the output and --compare are both {output}; rename one"
        )
    info = probe_video(video)
    waveform = read_audio(audio, rate=SAMPLE_RATE)
    plan = match_length(info, len(waveform) / SAMPLE_RATE, options.length)
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
        "audio": audio,
        "seconds": plan.duration,
        "display": info.display,
        "metadata": {"omnisync_model": model.config.name},
    }
    with ExitStack() as files:
        kept = None
        if work is not None:
            key = _run_key(model, video, waveform, options)
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
        heard = model.encode_audio(torch.from_numpy(waveform), torch.from_numpy(plan.times))
        started = summary.add_time("audio", started)
        edited = edit_frames(
            model,
            source(),
            found.at(plan.frames),
            heard,
            options=options,
            callback=callback,
            summary=summary,
            work=kept,
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
