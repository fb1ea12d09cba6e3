"""Clips of the user's as items of the benchmark: a manifest, or a folder in a known layout.

A manifest is CSV with a header, or JSON Lines: video, voice, and perhaps name, track, group,
truth (the same head saying the voice), landmarks (of the video's lips). Paths are relative to it.
Layouts that have no voices of their own give every clip the sound of another person's: never its
own, which would make copying the source perfect.
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
from .built_in import TRACKS, lip_shape, write_sound

FIELDS = ("video", "voice", "name", "track", "group", "truth", "landmarks")
_FILES = ("video", "voice", "truth", "landmarks")
VIDEOS = (".mp4", ".mkv", ".mov", ".webm", ".avi")
SOUNDS = (".wav", ".flac", ".m4a", ".mp3", ".ogg")
_UPPER, _LOWER = 14, 18  # middles of the inner lips among the 20 points
_SPLITS = ("mp4", "dev", "test", "train")  # folders above VoxCeleb2's people
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
    landmarks: Path | None = None


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
    files = {n: manifest.parent / str(row[n]) for n in _FILES if row.get(n)}
    for name, path in files.items():
        if not path.is_file():
            raise UserError(f"{where}: {name}: there is no file {path}.")
    name = str(row.get("name") or files["video"].stem)
    if Path(name).name != name or name.startswith("."):
        raise UserError(f"{where}: name must be a plain file name; got {name!r}.")
    group, marks = str(row.get("group", "")), files.get("landmarks")
    video, voice, truth = files["video"], files["voice"], files.get("truth")
    return Entry(name, video, voice, track, group, truth, where, marks)


def _from_layout(folder: Path) -> Iterator[Entry]:
    """Generated clips beside voices, or people who lend each other their sounds."""
    videos = next((p for n in ("videos", "video") if (p := folder / n).is_dir()), None)
    names = ("voices", "voice", "audios", "audio")
    voices = next((p for n in names if (p := folder / n).is_dir()), None)
    if videos is not None and voices is not None:
        yield from _generated(videos, voices)
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
        yield Entry(_joined(parts), video, _sound_of(others[0]), "general", group, None, str(video))


def _generated(videos: Path, voices: Path) -> Iterator[Entry]:
    """As generated clips come: silent, in folders by style; a voice of a clip's own name is its
    own, else they take turns."""
    sounds = _files(voices, SOUNDS)
    if not sounds:
        raise UserError(f"{voices} holds no sound ({', '.join(SOUNDS)}).")
    named = {path.relative_to(voices).with_suffix(""): path for path in sounds}
    for i, video in enumerate(_files(videos, VIDEOS)):
        inside = video.relative_to(videos)
        group = inside.parts[0] if len(inside.parts) > 1 else ""
        voice = named.get(inside.with_suffix(""), sounds[i % len(sounds)])
        track = "style" if group else "general"
        yield Entry(_joined(inside.parts), video, voice, track, group, None, str(video))


def _sound_of(video: Path) -> Path:
    """The sound that a layout keeps apart from its video, where it does: VoxCeleb2's aac/ beside
    mp4/, MEAD's person/audio/emotion/level beside person/video/view/emotion/level."""
    parts = list(video.parts)
    places = []
    if "mp4" in parts:
        places.append([*parts[: (k := parts.index("mp4"))], "aac", *parts[k + 1 :]])
    if "video" in parts[:-1]:
        places.append([*parts[: (k := parts.index("video"))], "audio", *parts[k + 2 :]])
    for place in places:
        for kind in SOUNDS:
            if (path := Path(*place).with_suffix(kind)).is_file():
                return path
    return video


def _person(path: Path) -> str:
    """VoxCeleb2 and MEAD: the first folder. HDTF: the file's name less its number at the end."""
    parts = list(path.parts)
    while len(parts) > 2 and parts[0] in _SPLITS:
        parts.pop(0)
    return parts[0] if len(parts) > 1 else path.stem.rstrip("0123456789").rstrip("_")


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
    if entry.landmarks is not None:
        places |= _known_lips(entry.landmarks, count, places["sides"])
    np.savez_compressed(folder / "item.npz", times=even, **places)
    if entry.truth is not None:
        got = _copy(read_frames(entry.truth, stop=count), folder / "truth.mp4", rate)
        if got != (wanted := (count, info.height, info.width)):
            raise UserError(
                f"truth: expected at least {wanted[0]} frames of {wanted[2]} x {wanted[1]} as the "
                f"video has, got {got[0]} of {got[2]} x {got[1]}; cut both alike"
            )
    for name in ("voice", "clean"):
        write_sound(folder / f"{name}.wav", sound[: int(length * 16_000)])
    about = {"track": entry.track, "group": entry.group, "name": entry.name}
    (folder / "item.json").write_text(json.dumps(about))


def _known_lips(path: Path, count: int, sides: np.ndarray) -> dict[str, np.ndarray]:
    """source [f] and source_lips [f, 40] of the user's landmarks, as built-in clips have them."""
    try:
        with np.load(path) as stored:
            lips, eyes = (np.asarray(stored[name], float)[:count] for name in ("lips", "eyes"))
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            "landmarks: expected an .npz with lips [f, 20, 2] and eyes [f, 2, 2] in pixels; "
            f"{path} cannot be read so ({error})"
        ) from None
    if lips.shape != (count, 20, 2) or eyes.shape != (count, 2, 2):
        raise UserError(
            f"landmarks: expected lips [{count}, 20, 2] and eyes [{count}, 2, 2], one for each "
            f"frame that is used; {path} holds {list(lips.shape)} and {list(eyes.shape)}"
        )
    opening = np.linalg.norm(lips[:, _LOWER] - lips[:, _UPPER], axis=1) / sides
    shapes = [lip_shape(*both) for both in zip(eyes, lips, strict=True)]
    return {"source": opening, "source_lips": np.stack(shapes)}


def _copy(frames: Iterator[np.ndarray], path: Path, rate: Fraction) -> tuple[int, int, int]:
    """Write all frames; returns their number, height and width."""
    first = next(frames)
    count, (high, wide) = 1, first.shape[:2]
    with FrameWriter(path, width=wide, height=high, rate=rate, lossless=True) as writer:
        writer.write(first)
        for frame in frames:
            writer.write(frame)
            count += 1
    return count, high, wide


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
