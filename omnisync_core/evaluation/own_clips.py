"""Clips of the user's as items of the benchmark: a manifest, or a folder in a known layout.

A manifest is CSV with a header, or JSON Lines: video, voice, and perhaps name, track, group,
truth (the same head saying the voice). Paths are relative to it. Layouts that have no voices of
their own give every clip the sound of another person's: never its own, which would make copying
the source perfect.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from ..locator import MouthLocator
from ..media import FrameWriter, probe_video, read_audio, read_frames
from ..region import DROP_PER_SPAN, SIDE_PER_SPAN, Box, smooth_track
from .built_in import TRACKS, write_sound

FIELDS = ("video", "voice", "name", "track", "group", "truth")
VIDEOS = (".mp4", ".mkv", ".mov", ".webm", ".avi")
SOUNDS = (".wav", ".flac", ".m4a", ".mp3", ".ogg")
_SEEN = 0.7  # share of the frames in which a face must be found
_LEAST = 1.0  # seconds


@dataclass(frozen=True)
class Entry:
    """One clip of the user's, and where it was written (for errors)."""

    name: str
    video: Path
    voice: Path
    track: str = "general"
    group: str = ""
    truth: Path | None = None
    where: str = ""


def read_entries(source: Path) -> list[Entry]:
    """The clips of a manifest or a folder. Raises UserError that names line and field."""
    if source.is_dir():
        entries = list(_from_layout(source))
        if not entries:
            raise UserError(
                f"{source} has none of the layouts known (docs/benchmark.md); write a manifest."
            )
        return entries
    from ..batch import manifest_rows

    entries: list[Entry] = []
    for line, row in manifest_rows(source):
        entries.append(_entry(row, source, f"{source}, line {line}"))
        same = [e for e in entries[:-1] if e.name == entries[-1].name]
        if same:
            raise UserError(f"{entries[-1].where}: name {same[0].name!r} is that of another line.")
    if not entries:
        raise UserError(f"The manifest {source} holds no clip; write a line for each.")
    return entries


def _entry(row: dict[str, Any], manifest: Path, where: str) -> Entry:
    if unknown := [name for name in row if name not in FIELDS]:
        known = ", ".join(FIELDS)
        raise UserError(f"{where}: there is no field {unknown[0]!r}; there are {known}.")
    if missing := [name for name in ("video", "voice") if not row.get(name)]:
        raise UserError(f"{where}: {' and '.join(missing)} missing.")
    track = str(row.get("track", "general"))
    if track not in TRACKS:
        raise UserError(f"{where}: track must be one of {', '.join(TRACKS)}; got {track!r}.")
    files = {n: manifest.parent / str(row[n]) for n in ("video", "voice", "truth") if row.get(n)}
    for name, path in files.items():
        if not path.is_file():
            raise UserError(f"{where}: {name}: there is no file {path}.")
    name = str(row.get("name") or files["video"].stem)
    if Path(name).name != name or name.startswith("."):
        raise UserError(f"{where}: name must be a plain file name; got {name!r}.")
    group, truth = str(row.get("group", "")), files.get("truth")
    return Entry(name, files["video"], files["voice"], track, group, truth, where)


def _from_layout(folder: Path) -> Iterator[Entry]:
    """VoxCeleb2 (id/video/utterance), MEAD (person/video/view/emotion/level), HDTF (flat), and
    videos/ beside voices/ as generated clips come, which have no sound."""
    if (folder / "videos").is_dir() and (folder / "voices").is_dir():
        voices = _files(folder / "voices", SOUNDS)
        if not voices:
            raise UserError(f"{folder / 'voices'} holds no sound ({', '.join(SOUNDS)}).")
        for i, video in enumerate(_files(folder / "videos", VIDEOS)):
            parts = video.relative_to(folder / "videos").parts
            group = parts[0] if len(parts) > 1 else ""
            track = "style" if group else "general"
            voice = voices[i % len(voices)]
            yield Entry(_joined(parts), video, voice, track, group, None, str(video))
        return
    found = _files(folder, VIDEOS)
    people = [_person(path.relative_to(folder)) for path in found]
    for i, (video, person) in enumerate(zip(found, people, strict=True)):
        following = [*range(i + 1, len(found)), *range(i)]
        others = [found[k] for k in following if people[k] != person]
        if not others:
            raise UserError(
                f"{folder} holds one person only, so nobody else can lend a voice; add another "
                "or write a manifest."
            )
        parts: tuple[str, ...] = video.relative_to(folder).parts
        mead = "video" in parts and len(parts) >= 6
        group = video.parents[1].name if mead else ""
        yield Entry(_joined(parts), video, others[0], "general", group, None, str(video))


def _person(path: Path) -> str:
    """VoxCeleb2 and MEAD: the first folder. HDTF: the file's name less its number at the end."""
    return path.parts[0] if len(path.parts) > 1 else path.stem.rstrip("0123456789").rstrip("_")


def _joined(parts: tuple[str, ...]) -> str:
    return Path("-".join(parts)).stem


def _files(folder: Path, kinds: tuple[str, ...]) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in kinds and p.is_file())


def prepare_entries(
    entries: list[Entry], out: Path, *, seconds: float
) -> Iterator[tuple[Path, str]]:
    """Each clip's folder under out, and why it cannot be used (empty: it can)."""
    locator = MouthLocator.load()
    for entry in entries:
        folder, why = out / entry.name, ""
        try:
            prepare_entry(entry, folder, locator, seconds=seconds)
        except UserError as error:
            why = f"{entry.where}: {error}"
        yield folder, why


def prepare_entry(entry: Entry, folder: Path, locator: MouthLocator, *, seconds: float) -> None:
    """Cut one clip to that many seconds, find its mouth, and write its folder.

    Raises UserError for a clip without a face, below a second, and for files that do not open.
    """
    if (folder / "item.json").exists():
        return
    info, sound = probe_video(entry.video), read_audio(entry.voice)
    limit = 300.0 if entry.track == "long" else seconds
    length = min(limit, float(info.times[-1]), len(sound) / 16_000)
    if length < _LEAST:
        raise UserError(f"video and voice have {length:.2f} s in common; at least 1 s is needed")
    times = np.asarray(info.times)[np.asarray(info.times) <= length]
    count, rate = len(times), Fraction((len(times) - 1) / float(times[-1])).limit_denominator(1001)
    folder.mkdir(parents=True, exist_ok=True)
    boxes: list[Box | None] = []

    def followed() -> Iterator[np.ndarray]:
        for frame in read_frames(entry.video, stop=count):
            boxes.append(locator.locate(frame, boxes[-1] if boxes else None))
            yield frame

    _copy(followed(), folder / "source.mp4", rate)
    even = np.arange(count) / float(rate)
    places: dict[str, Any] = _places(boxes, even)
    np.savez_compressed(folder / "item.npz", times=even, **places)
    if entry.truth is not None:
        _copy(read_frames(entry.truth, stop=count), folder / "truth.mp4", rate)
    for name in ("voice", "clean"):
        write_sound(folder / f"{name}.wav", sound[: int(length * 16_000)])
    about = {"track": entry.track, "group": entry.group, "name": entry.name}
    (folder / "item.json").write_text(json.dumps(about))


def _copy(frames: Iterator[np.ndarray], path: Path, rate: Fraction) -> None:
    first = next(frames)
    high, wide = first.shape[:2]
    with FrameWriter(path, width=wide, height=high, rate=rate, lossless=True) as writer:
        writer.write(first)
        for frame in frames:
            writer.write(frame)


def _places(boxes: list[Box | None], times: np.ndarray) -> dict[str, np.ndarray]:
    """places [f, 2], sides [f], centres [f, 2] of the found boxes, gaps bridged."""
    seen = np.array([box is not None for box in boxes])
    if seen.mean() < _SEEN:
        raise UserError(
            f"a face is found in {seen.sum()} of {len(seen)} frames, {_SEEN:.0%} are needed; "
            "choose a stretch in which the mouth is seen"
        )
    track = smooth_track(boxes, times)
    known = np.flatnonzero([box is not None for box in track])
    rows = np.array([(box.cx, box.cy, box.side) for box in track if box is not None])
    x, y, side = (np.interp(np.arange(len(boxes)), known, row) for row in rows.T)
    mouth = y - side * DROP_PER_SPAN / SIDE_PER_SPAN  # undoes standard_box, for upright heads
    return {"places": np.stack([x, mouth], 1), "sides": side, "centres": np.stack([x, y], 1)}
