"""Finished work of a run in a folder, so that a killed run goes on instead of starting again.

What is dear is the model's edit of each mouth crop, and it is small: the folder keeps the edits
(not the frames), where the mouth was found, and what the next window needs of the last one. A
resumed run writes its video anew from these, so the file is that of an uninterrupted run.

    key.json    what the run was: after a change of options, voice or weights the folder is
                emptied, not trusted; one that holds another video is left alone and refused
    track.npz   the boxes and cuts of the video
    edits.bin   one record per finished frame, in order; never rewritten
    state.npz   how much of edits.bin counts, and the frames that wait for the next window
"""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .errors import UserError
from .flow_init import NoiseState
from .region import Box, Tracking

LEVELS = 127.5 * 8
"""Edits are rounded to an eighth of a grey level, in every run, kept or not."""


def work_folder(output: Path) -> Path:
    """Where the finished windows of a run that can be resumed are kept."""
    return output.with_name(f".{output.name}.work")


def round_edit(source: Tensor, edited: Tensor) -> Tensor:
    """The edited crop [3 s s], its change rounded to the steps in which edits are kept."""
    return source + ((edited - source) * LEVELS).round() / LEVELS


@dataclass
class Waiting:
    """A frame whose next window is still to come."""

    noise: Tensor
    edited: Tensor


@dataclass
class Position:
    """Where a run stands between two windows."""

    frame: int
    """Frames before this one are finished."""
    waiting: list[Waiting]
    """Frames from there on that have been in one window and wait for the next."""
    noise: NoiseState
    """The state of the noise stream after the last waiting frame."""
    replay: dict[float, list[Tensor]]
    """What a `Replay` remembers; empty without one."""


class WorkFolder:
    """The folder of one run; a context manager that keeps it open for appending.

    Leaving the block well removes the folder; leaving it by an exception (Ctrl-C too) keeps it, and
    so does a kill. Raises UserError when the folder cannot be written, or holds work on another
    video.
    """

    def __init__(self, folder: Path, key: dict[str, Any]) -> None:
        """key: everything that the result depends on, as plain values; "video": path first."""
        self.folder, self._key = folder, json.loads(json.dumps(key))
        self.position: Position | None = None
        """Where the run stood when it ended; None for a new one."""

    def __enter__(self) -> WorkFolder:
        with self._writing():
            kept = self._read_key()
            self._refuse_other_video(kept)
            if kept != self._key:
                shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(exist_ok=True)
            _replace(self.folder / "key.json", lambda part: part.write_text(json.dumps(self._key)))
            self.position, size = self._read_state()
            self._edits = (self.folder / "edits.bin").open("ab+")
            self._edits.truncate(size)  # what was written after the last state is not whole
        self._next = 0  # offset of the next edit to be read
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with suppress(OSError):  # a full disk has been told of by then
            self._edits.close()
        if kind is None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def tracking(self) -> Tracking | None:
        """The boxes and cuts that were kept, if they were."""
        path = self.folder / "track.npz"
        if not path.exists():
            return None
        with np.load(path) as kept:
            rows, cuts = kept["boxes"], tuple(map(int, kept["cuts"]))
        return Tracking([None if np.isnan(row[0]) else Box(*map(float, row)) for row in rows], cuts)

    def keep_tracking(self, found: Tracking) -> None:
        """Keep one box or None per frame, and the cuts."""
        nowhere = (np.nan,) * 3
        boxes = [nowhere if box is None else (box.cx, box.cy, box.side) for box in found.track]
        arrays = {"boxes": np.array(boxes), "cuts": np.array(found.cuts, np.int64)}
        with self._writing():
            _replace(self.folder / "track.npz", lambda part: _save(part, arrays))

    def keep_edit(self, source: Tensor, edited: Tensor) -> None:
        """Append the edit of the next frame; it counts once keep_position has been called."""
        change = ((edited - source) * LEVELS).round().to(torch.int16).numpy()
        packed = zlib.compress(change.tobytes(), 1)
        with self._writing():
            self._edits.write(len(packed).to_bytes(4, "little") + packed)

    def next_edit(self, source: Tensor) -> Tensor:
        """The kept edit [3 s s] of the next frame, given its source crop."""
        self._edits.seek(self._next)
        length = int.from_bytes(self._edits.read(4), "little")
        change = np.frombuffer(zlib.decompress(self._edits.read(length)), np.int16)
        self._next += 4 + length
        return source + torch.from_numpy(change.reshape(source.shape).copy()).float() / LEVELS

    def keep_position(self, position: Position) -> None:
        """Make everything appended so far count, and say where the run stands."""
        with self._writing():
            self._edits.seek(0, 2)
            self._edits.flush()
        arrays = {"frame": np.array(position.frame), "size": np.array(self._edits.tell())}
        for name in ("noise", "edited"):
            parts = [getattr(one, name).numpy() for one in position.waiting]
            arrays[f"waiting_{name}"] = np.stack(parts) if parts else np.zeros(0)
        for k, (t, blocks) in enumerate(position.replay.items()):
            arrays[f"replay_{k}"] = np.stack([one.numpy() for one in blocks])
            arrays[f"replay_{k}_t"] = np.array(t)
        stream = vars(position.noise).items()
        arrays |= {f"stream_{k}": np.asarray(v) for k, v in stream if v is not None}
        with self._writing():
            _replace(self.folder / "state.npz", lambda part: _save(part, arrays))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(
                f"The finished work cannot be kept in {self.folder} ({error.strerror}); free some "
                "space, choose another output folder, or leave --resume out."
            ) from error

    def _refuse_other_video(self, kept: Any) -> None:
        if kept and kept["video"][0] != self._key["video"][0]:
            raise UserError(
                f"{self.folder} keeps the unfinished work on {kept['video'][0]}, not on "
                f"{self._key['video'][0]}; write to another output, finish that run first, or "
                "remove the folder."
            )

    def _read_key(self) -> Any:
        try:
            return json.loads((self.folder / "key.json").read_text())
        except (OSError, ValueError):
            return None

    def _read_state(self) -> tuple[Position | None, int]:
        path = self.folder / "state.npz"
        if not path.exists():
            return None, 0
        with np.load(path) as kept:
            tensor = lambda name: torch.from_numpy(kept[name]) if name in kept else None  # noqa: E731
            stream = NoiseState(
                int(kept["stream_index"]), tensor("stream_frame"), tensor("stream_noise")
            )
            waiting = [
                Waiting(torch.from_numpy(noise), torch.from_numpy(edited))
                for noise, edited in zip(kept["waiting_noise"], kept["waiting_edited"], strict=True)
            ]
            replay = {}
            while f"replay_{len(replay)}" in kept:
                k = len(replay)
                replay[float(kept[f"replay_{k}_t"])] = list(torch.from_numpy(kept[f"replay_{k}"]))
            return Position(int(kept["frame"]), waiting, stream, replay), int(kept["size"])


def _save(path: Path, arrays: dict[str, Any]) -> None:
    with path.open("wb") as file:
        np.savez(file, **arrays)


def _replace(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a file that appears whole or not at all."""
    part = path.with_suffix(".part")
    write(part)
    part.replace(path)
