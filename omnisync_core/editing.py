"""New lips for frames, window by window, as they stream through.

In: frames uint8 [h, w, 3] in order, where their mouths are, and the voice of each. Out: as many
frames, edited. Only the frames that a later window still needs are held.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from .anchoring import STRENGTH, Keyframe, kept_identity, towards_source
from .composite import paste_crop, take_crop
from .config import SyncOptions
from .errors import UserError
from .exposure import Exposure
from .flow_init import NoiseStream, start_point
from .guidance import mouth_map, st_cfg
from .model import FrameAudio, OmniSync
from .occluder_net import OccluderNet
from .occlusion import OcclusionWatch, View
from .optical_flow import Estimator, dense_flow, estimator
from .own_mouth import OwnMouth
from .progress import Callback, Finished, Progress, Summary
from .region import Box, Tracking
from .replay import Replay
from .resume import Position, Waiting, WorkFolder, round_edit
from .sampler import Step, sample, time_grid
from .windows import plan_windows

# Frames of a shot that the speaker's own mouth is looked for in at once: a minute at 25 a second.
# Light and pose are alike in them, and the first frame does not wait for the last of an hour.
_STRETCH = 1500


def edit_window(
    model: OmniSync,
    source: Tensor,
    noise: Tensor,
    audio: FrameAudio,
    *,
    options: SyncOptions,
    generator: torch.Generator | None = None,
    callback: Callable[[Step], None] | None = None,
    keyframe: Tensor | None = None,
    replay: Replay | None = None,
    source_guidance: float = 0.0,
) -> Tensor:
    """Flow init and guided sampling of one window: source and noise [f 3 h w] -> edited [f 3 h w].

    source in [-1, 1]; noise unit Gaussian; audio of the same frames. keyframe: a source crop
    [3 h w] that joins the window's context; the audio then has its frame, too, at the end. replay:
    what is known of past windows. source_guidance: see anchoring.towards_source.
    """
    device = next(model.parameters()).device
    exposure = Exposure.of(source)
    original, source = source, exposure.lift(source)
    source, noise = source[None].to(device), noise[None].to(device)
    frames, anchor = source.shape[1], source[:, :0]
    if keyframe is not None:
        anchor = exposure.lift(keyframe)[None, None].to(device)
    context = torch.cat([source, anchor], dim=1)

    def velocities(x: Tensor, t: float, names: Sequence[str]) -> list[Tensor]:
        # (1 - t) times a frame is to the network that very frame, whatever t is.
        x = torch.cat([x, (1 - t) * anchor], dim=1)
        return [v[:, :frames] for v in model.velocities(x, t, context, audio, names, replay)]

    velocity = st_cfg(
        velocities,
        spatial_scale=options.spatial_scale,
        temporal_scale=options.temporal_scale,
        profile=options.profile,
        mouth_map=None if _unguided(options) else mouth_map(*source.shape[-2:]).to(device),
    )
    if source_guidance:
        velocity = towards_source(velocity, source, source_guidance)
    edited = sample(
        velocity,
        start_point(source, noise, options.tau),
        time_grid(options.steps, options.tau),
        solver=options.solver,
        churn=options.churn,
        generator=generator,
        callback=callback,
    )
    edited = exposure.lower(edited[0].cpu(), source[0].cpu(), original)
    return edited.clamp(-1, 1)


def _ran_out_of_memory(error: Exception) -> bool:
    """CUDA has an exception of its own; other devices only say so in words."""
    said = str(error).lower()
    words = ("out of memory", "not enough memory", "can't allocate memory")
    return isinstance(error, MemoryError) or any(part in said for part in words)


def _free_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


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
    again: Iterable[np.ndarray] = (),
) -> Iterator[np.ndarray]:
    """Edited frames uint8 [h, w, 3], in order, as many as came in; only a window is held at a time.

    noise(i, crop) gives the noise [3 s s] of frame i; None is a FlowNoise of options.seed. work:
    goes on from what is finished there, and keeps what gets finished; not with a noise of your own.
    again: the frames once more; they are read a shot ahead (two minutes at most), for the speaker's
    own mouth (options.texture). Without them the mouth is as it was drawn.
    """
    if noise is not None and work is not None:
        raise ValueError("expected noise or a work folder, got both: the folder keeps a FlowNoise")
    flow = estimator(options.flow)
    noise = noise or FlowNoise(model.config.crop, options.seed, flow=flow)
    summary = summary or Summary()
    editor = _Editor(
        model, audio, options, noise, flow, callback, summary, tracking, work, iter(again)
    )
    return editor.stream(iter(frames))


class FlowNoise:
    """Noise that moves with the picture, for frames asked for in order: (i, crop) -> [3 s s].

    Frames that are left out (no mouth) are skipped; the noise depends on seed and frame alone.
    """

    def __init__(self, size: int, seed: int, *, flow: Estimator = dense_flow) -> None:
        self.stream = NoiseStream(seed, (3, size, size), flow=flow)
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
    view: View
    noise: Tensor
    edited: Tensor


@dataclass
class _Editor:
    """The state of one stream: the frames that later windows still need."""

    model: OmniSync
    audio: FrameAudio
    options: SyncOptions
    noise: Callable[[int, Tensor], Tensor]
    flow: Estimator
    callback: Callback | None
    summary: Summary
    tracking: Tracking
    work: WorkFolder | None
    again: Iterator[np.ndarray]

    def __post_init__(self) -> None:
        self._at_once, self._done = self.options.window, 0.0
        self._finder = OccluderNet.load() if self.options.occlusion == "auto" else None
        self._read_again = 0
        self._begin_shot(0, 0)

    def _begin_shot(self, start: int, stop: int) -> None:
        self._start, self._stop = start, stop
        self._watch = OcclusionWatch(self._finder) if self._finder else None
        self._keyframes: list[Keyframe] = []
        self._replay = Replay(self.options.replay) if self.options.replay else None
        self._mouth: OwnMouth | None = None
        self._mouth_until = start

    def stream(self, frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        done = 0
        for start, stop in self.tracking.runs():
            yield from self._pass_through(frames, done, start)
            yield from self._edit_run(frames, start, stop)
            done = stop
        yield from self._pass_through(frames, done, len(self.tracking.track))

    def _pass_through(self, frames: Iterator[np.ndarray], start: int, stop: int):
        for i in range(start, stop):
            self._report(i + 1, finished=self._finished(i))
            self.summary.frames += 1
            yield next(frames)

    def _edit_run(self, frames: Iterator[np.ndarray], start: int, stop: int):
        held: dict[int, _Held] = {}
        self._begin_shot(start, stop)
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
            self._sample(first, last, window.weights, held, begin=begin, until=until)
            finished = {i: held.pop(i) for i in range(min(held), until)}
            for one in finished.values():
                one.edited = round_edit(one.crop, one.edited)
            if self.work:
                self._keep(self.work, finished, until, list(held.values()))
            for i, one in finished.items():
                yield self._finish(i, one)

    def _look_ahead(self, start: int) -> None:
        """Read the frames from there on once more, for the mouths that they show."""
        left = self._stop - start  # a rest that is shorter than a stretch is none of its own
        stop = self._mouth_until = start + (left if left < 2 * _STRETCH else _STRETCH)
        ahead = islice(self.again, start - self._read_again, stop - self._read_again)
        self._read_again = stop

        def frames() -> Iterator[np.ndarray]:
            for frame in ahead:
                self._report(self._done)  # a minute takes a while, and may be cancelled meanwhile
                yield frame

        self._mouth = OwnMouth.gather(
            frames(),
            [self._box(i) for i in range(start, stop)],
            self.model.config.crop,
            finder=self._finder,
            flow=self.flow,
        )

    def _finish_kept(self, frames: Iterator[np.ndarray], first: int, until: int):
        """Frames that an earlier run edited."""
        assert self.work is not None
        for i in range(first, until):
            frame = next(frames)
            crop, view = self._look(i, frame)
            self._report(i + 1)
            yield self._finish(i, _Held(frame, crop, view, crop, self.work.next_edit(crop)))

    def _restore(self, frames: Iterator[np.ndarray], position: Position) -> dict[int, _Held]:
        """The frames that waited for the next window when an earlier run ended."""
        assert isinstance(self.noise, FlowNoise)
        self.noise.stream.restore(position.noise)
        if self._replay:
            self._replay.restore(position.replay, like=next(self.model.parameters()))
        held = {}
        for i, waiting in enumerate(position.waiting, position.frame):
            frame = next(frames)
            held[i] = _Held(frame, *self._look(i, frame), waiting.noise, waiting.edited)
        return held

    def _keep(
        self, work: WorkFolder, finished: dict[int, _Held], until: int, waiting: list[_Held]
    ) -> None:
        assert isinstance(self.noise, FlowNoise)
        for one in finished.values():
            work.keep_edit(one.crop, one.edited)
        kept = [Waiting(one.noise, one.edited) for one in waiting]
        past = self._replay.state() if self._replay else {}
        work.keep_position(Position(until, kept, self.noise.stream.state(), past))

    def _hold(self, i: int, frame: np.ndarray) -> _Held:
        crop, view = self._look(i, frame)
        started = time.perf_counter()
        held = _Held(frame, crop, view, self.noise(i, view.source), torch.zeros_like(crop))
        self.summary.add_time("flow init", started)
        return held

    def _look(self, i: int, frame: np.ndarray) -> tuple[Tensor, View]:
        """A frame's crop and what is in the way; every frame of a run, once and in order."""
        started = time.perf_counter()
        crop = take_crop(frame, self._box(i), self.model.config.crop)
        view = self._watch.look(crop) if self._watch else View("clear", 0.0, crop, None)
        interval = self.options.keyframe_interval
        if interval and (i - self._start) % interval == 0:
            # Windows to come begin after i - window: of what lies before, the last one serves.
            past = [one for one in self._keyframes if one.index <= i - self.options.window]
            later = self._keyframes[len(past) :]
            self._keyframes = [*past[-1:], *later, Keyframe(i, view.source)]
        self.summary.add_time("occlusion", started)
        return crop, view

    def _box(self, i: int) -> Box:
        box = self.tracking.track[i]
        assert box is not None  # runs() leaves such frames out
        return box

    def _sample(
        self,
        first: int,
        last: int,
        weights: np.ndarray,
        held: dict[int, _Held],
        *,
        begin: int,
        until: int,
    ) -> None:
        """Edit frames first..last - 1; those before begin were in the window before as well, those
        from until on will be in the next."""
        started = time.perf_counter()
        window = [held[i] for i in range(first, last)]

        def report(step: Step) -> None:
            share = (step.index + 1) / step.total
            self._report(begin + share * (last - begin), step.x[0, -1].float().cpu())

        edited = self._edit(first, window, until, report)
        for one, result, weight in zip(window, edited, weights, strict=True):
            one.edited += float(weight) * result
        self.summary.windows += 1
        self.summary.add_time("sampling", started)

    def _edit(
        self, first: int, window: list[_Held], until: int, report: Callable[[Step], None]
    ) -> list[Tensor]:
        """The edits of a window from frame `first` on; in parts where memory does not suffice."""
        edited: list[Tensor] = []
        while len(edited) < len(window):
            done = len(edited)
            part = window[done : done + self._at_once]
            try:
                edited += self._edit_part(first + done, part, until, report)
            except (MemoryError, RuntimeError) as error:
                if not _ran_out_of_memory(error):
                    raise
                if len(part) == 1:
                    raise UserError(
                        "Memory ran out while a single frame was edited. Close other programs, or "
                        "run on another device (`--device cpu` uses the computer's own memory)."
                    ) from None
                self._at_once = len(part) // 2
                self.summary.halved += 1
                _free_memory()
        return edited

    def _edit_part(
        self, first: int, part: list[_Held], until: int, report: Callable[[Step], None]
    ) -> Tensor:
        """The edits [f 3 s s] of frames that fit into memory; again if the face has drifted."""
        source = torch.stack([one.view.source for one in part])
        noise = torch.stack([one.noise for one in part])
        keyframe = self._keyframe_before(first)
        heard = [*range(first, first + len(part)), *([keyframe.index] if keyframe else [])]

        def edit(source_guidance: float) -> Tensor:
            if self._replay:
                self._replay.begin()
            # From the seed and the place: the same whatever ran before.
            seed = (self.options.seed * 1_000_003 + first) % 2**63
            return edit_window(
                self.model,
                source,
                noise,
                self.audio.at(heard),
                options=self.options,
                generator=torch.Generator().manual_seed(seed),
                callback=report,
                keyframe=keyframe.source if keyframe else None,
                replay=self._replay,
                source_guidance=source_guidance,
            )

        edited = edit(0.0)
        if keyframe:
            kept = kept_identity(edited, source, keyframe.source)
            if kept < self.options.identity_floor:
                self.summary.anchored += 1
                edited = edit(STRENGTH)
        if self._replay:
            self._replay.keep(max(0, min(len(part), until - first)))
        return edited

    def _keyframe_before(self, first: int) -> Keyframe | None:
        past = [one for one in self._keyframes if one.index < first]
        return past[-1] if past else None

    def _finish(self, i: int, held: _Held) -> np.ndarray:
        started = time.perf_counter()
        edited, own, fine = held.edited, None, None
        if self.options.texture == "own" and i >= self._mouth_until:
            self._look_ahead(i)
        if self._mouth and not torch.equal(edited, held.crop):
            worn = self._mouth.wear(edited)
            edited, own, fine = worn.edited, worn.own, worn.fine
        started = self.summary.add_time("texture", started)
        result = paste_crop(
            held.frame, self._box(i), held.crop, edited, keep=held.view.keep, own=own, fine=fine
        )
        self.summary.frames += 1
        self.summary.edited += 1
        self.summary.occluded += held.view.keep is not None
        self.summary.add_time("composite", started)
        self._report(i + 1, finished=self._finished(i, edited, held.view.keep is not None))
        return result

    def _finished(self, i: int, crop: Tensor | None = None, occluded: bool = False) -> Finished:
        return Finished(i, float(self.audio.times[i]), crop, occluded)

    def _report(
        self, done: float, preview: Tensor | None = None, *, finished: Finished | None = None
    ) -> None:
        if self.callback is not None:
            # A frame is finished after its window was sampled: the bar does not go back for it.
            self._done = max(self._done, done)
            total = len(self.tracking.track)
            self.callback(Progress("edit", self._done, total, preview, finished))
