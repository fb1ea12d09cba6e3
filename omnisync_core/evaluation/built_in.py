"""The built-in clips: rendered heads with true lips, the same on every machine for a seed.

In: a track's name, a number, a seed. Out, in a folder: source.mp4 (a head says one thing),
voice.wav (another), truth.mp4 (the same head, pose and light says that one), other.mp4 (it says a
third), item.npz (the truth in numbers) and, last, item.json. Needs the extra `bench` and
libespeak-ng, whose timbres and the heads' seeds are not those of training (rig: ICT-FaceKit, MIT).
"""

from __future__ import annotations

import json
import multiprocessing
import wave
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np

from ..errors import UserError
from ..media import FrameWriter
from ..region import standard_box
from ..training.looks import FILTERS, stylise
from ..training.occluders import HELD_OUT, draw_occluder
from ..training.render import Head, HeadKit, Scene, render_clip
from ..training.tts import Phone, synthesise
from ..training.visemes import articulation, expression_weights, viseme_class, viseme_track
from ..training.voice import HELD_OUT_VARIANTS, LANGUAGES, random_text

SOUND_RATE, FRAME_RATE = 16_000, 25
SIZE = 256
_SEED = 990_000  # training's shards count from 1, the held-out heads of benchmarks/ from 880000
_QUIET = 0.4  # seconds of silence before each voice
_SPOKEN = ("en-us", "de", "fr", "es", "ru", "cmn", "ja", "ko")
_NOISE_DB = (20, 10, 5, 0)
_FAULTS = ("dark", "compressed", "blurred")
TRACKS = {
    "general": (4, 24, 4, 8),
    "occlusion": (3, 18, 4, 6),
    "style": (3, 20, 4, 6),
    "long": (1, 2, 20, 300),
    "multilingual": (4, 16, 4, 6),
    "low-quality": (3, 12, 4, 6),
    "silence": (1, 6, 4, 6),
    "snr": (4, 16, 4, 6),
}
"""Track -> clips in `small`, in `full`, seconds of each in `small`, in `full`."""


@dataclass(frozen=True)
class Plan:
    """One clip to be made; group: which style, language, fault or level it has."""

    track: str
    number: int
    seconds: float
    group: str
    seed: int = 0

    @property
    def name(self) -> str:
        return f"{self.track}-{self.number:02d}-s{self.seed}"


def plans(size: str, *, tracks: Sequence[str] = tuple(TRACKS), seed: int = 0) -> list[Plan]:
    """The clips of a set: size `small` or `full`."""
    groups = {
        "occlusion": HELD_OUT,
        "style": tuple(FILTERS),
        "multilingual": _SPOKEN,
        "low-quality": _FAULTS,
        "snr": tuple(f"{level} dB" for level in _NOISE_DB),
    }
    full = size == "full"
    found = []
    for track in tracks:
        count, seconds = TRACKS[track][full], TRACKS[track][2 + full]
        kinds = groups.get(track, ("",))
        found += [Plan(track, i, seconds, kinds[i % len(kinds)], seed) for i in range(count)]
    return found


def make_all(wanted: Sequence[Plan], out: Path, *, workers: int = 1) -> Iterator[Path]:
    """The clips' folders in their order, as they get ready; several processes render.

    Raises UserError without libespeak-ng.
    """
    try:
        synthesise("a", voice="en-us")
    except UserError as error:
        raise UserError(f"{error} Or judge clips of your own with --clips.") from None
    folders = [out / plan.name for plan in wanted]
    todo = [(p, f) for p, f in zip(wanted, folders, strict=True) if not _made(f)]
    if workers == 1 or len(todo) < 2:
        for plan, folder in zip(wanted, folders, strict=True):
            make(plan, folder)
            yield folder
        return
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        # The longest first, so that no process ends alone on it.
        todo.sort(key=lambda one: -one[0].seconds)
        running = {folder: pool.submit(make, plan, folder) for plan, folder in todo}
        for folder in folders:
            if folder in running:
                running[folder].result()
            yield folder


def _made(folder: Path) -> bool:
    return (folder / "item.json").exists()


def make(plan: Plan, folder: Path) -> None:
    """Render one clip into its folder, unless it is there already."""
    if _made(folder):
        return
    folder.mkdir(parents=True, exist_ok=True)
    seed = _SEED + 10_000 * plan.seed + 100 * list(TRACKS).index(plan.track) + plan.number
    rng = np.random.default_rng(seed)
    kit = _kit()
    head, scene = Head(kit, rng), Scene(rng)
    language = plan.group if plan.track == "multilingual" else "en-us"
    says = {name: speech(rng, plan.seconds, language) for name in ("source", "truth", "other")}
    if plan.track == "silence":
        says["truth"] = (np.zeros_like(says["truth"][0]), [])
    times = np.arange(int(plan.seconds * FRAME_RATE)) / FRAME_RATE
    clips, truth = {}, {"times": times}
    for name, (_, phones) in says.items():
        curves = articulation(phones or [Phone("", 0.0, plan.seconds)], times)
        weights = expression_weights(curves, kit.expression_names)
        shown = list(render_clip(head, scene, weights, width=SIZE, height=SIZE, seed=seed))
        clips[name] = np.stack([frame for frame, _ in shown])
        boxes = [standard_box(p.eyes[0], p.eyes[1], p.mouth) for _, p in shown]
        truth[name] = np.array([p.opening / b.side for (_, p), b in zip(shown, boxes, strict=True)])
        truth[f"{name}_lips"] = np.stack([lip_shape(p.eyes, p.lips) for _, p in shown])
        if name == "source":  # pose and light are the same for all three
            truth["places"] = mouth_places(np.stack([p.eyes for _, p in shown]), shown)
            truth["sides"] = np.array([box.side for box in boxes])
            truth["centres"] = np.array([(box.cx, box.cy) for box in boxes])
    clips, truth["cover"] = _altered(clips, plan, truth["places"], rng)
    for name, frames in clips.items():
        _write(folder / f"{name}.mp4", frames, squeezed=plan.group == "compressed")
    truth["source_visemes"] = viseme_track(says["source"][1], times)
    spoken = [(p.start, p.stop, viseme_class(p.symbol)) for p in says["truth"][1] if p.symbol]
    truth["phones"] = np.array(spoken).reshape(-1, 3)
    write_sound(folder / "voice.wav", _noisy(says["truth"][0], plan, rng))
    write_sound(folder / "clean.wav", says["truth"][0])
    np.savez_compressed(folder / "item.npz", **cast("dict[str, Any]", truth))
    about = {"track": plan.track, "group": plan.group, "name": plan.name}
    (folder / "item.json").write_text(json.dumps(about))


def speech(
    rng: np.random.Generator, seconds: float, language: str
) -> tuple[np.ndarray, list[Phone]]:
    """A held-out timbre says random words: [n] of that many seconds, silence first, and phones."""
    pieces, phones, at = [np.zeros(int(_QUIET * SOUND_RATE), np.float32)], [], _QUIET
    while at < seconds:
        said, heard = synthesise(
            random_text(rng, LANGUAGES[language]),
            voice=language + str(rng.choice(HELD_OUT_VARIANTS)),
            rate=int(rng.integers(120, 200)),
            pitch=int(rng.integers(20, 80)),
        )
        if not len(said):
            continue
        phones += [Phone(p.symbol, p.start + at, p.stop + at) for p in heard]
        pieces.append(said)
        at += len(said) / SOUND_RATE
    sound = np.concatenate(pieces)[: int(seconds * SOUND_RATE)]
    return sound, [p for p in phones if p.start < seconds]


def lip_shape(eyes: np.ndarray, lips: np.ndarray) -> np.ndarray:
    """Lip points [20, 2] as [40] with the eyes [2, 2] at -0.5 and 0.5: in distances of the eyes."""
    x, y = np.moveaxis(np.concatenate([eyes, lips]), -1, 0)
    points = x + 1j * y
    points = (points[2:] - points[:2].mean()) / (points[1] - points[0])
    return np.concatenate([points.real, points.imag])


def mouth_places(eyes: np.ndarray, shown: list) -> np.ndarray:
    """Where the mouth is [f, 2] whatever it does: carried by the eyes [f, 2, 2] alone."""
    middle, across = eyes.mean(1), eyes[:, 1] - eyes[:, 0]
    mouths = np.stack([p.mouth for _, p in shown])
    axis, apart = across[:, 0] + 1j * across[:, 1], mouths - middle
    steady = np.median((apart[:, 0] + 1j * apart[:, 1]) / axis) * axis
    return middle + np.stack([steady.real, steady.imag], axis=1)


def _altered(
    clips: dict[str, np.ndarray], plan: Plan, places: np.ndarray, rng: np.random.Generator
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The clips as the track shows them, and what covers the pixels, uint8 percent [f, h, w]."""
    cover = np.zeros(clips["source"].shape[:3], np.uint8)
    if plan.track == "occlusion":
        thing = draw_occluder(rng, places, SIZE, kind=plan.group)
        cover = np.round(thing.cover * 100).astype(np.uint8)
        return {name: thing.over(frames) for name, frames in clips.items()}, cover
    if plan.track == "style":
        return {name: stylise(frames, plan.group, 0.5) for name, frames in clips.items()}, cover
    change = {
        "dark": lambda one: cv2.convertScaleAbs(one, alpha=0.3),
        "blurred": lambda one: cv2.blur(one, (7, 1)),
    }.get(plan.group)
    if change:
        clips = {name: np.stack([change(one) for one in f]) for name, f in clips.items()}
    return clips, cover


def _noisy(sound: np.ndarray, plan: Plan, rng: np.random.Generator) -> np.ndarray:
    """White noise at the group's level below the voice (track snr)."""
    if plan.track != "snr":
        return sound
    level = np.sqrt((sound**2).mean()) * 10 ** (-int(plan.group.split()[0]) / 20)
    return (sound + level * rng.normal(size=len(sound))).astype(np.float32)


def _write(path: Path, frames: np.ndarray, *, squeezed: bool) -> None:
    if squeezed:
        frames = np.stack([_squeezed(one) for one in frames])
    rate = Fraction(FRAME_RATE)
    with FrameWriter(path, width=SIZE, height=SIZE, rate=rate, lossless=True) as writer:
        for frame in frames:
            writer.write(np.ascontiguousarray(frame))


def _squeezed(frame: np.ndarray) -> np.ndarray:
    """The frame after JPEG coding at quality 15."""
    data = cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 15])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1]


def write_sound(path: Path, samples: np.ndarray) -> None:
    """A wav of samples [n] in [-1, 1] at 16 kHz."""
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(SOUND_RATE)
        out.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())


@lru_cache(maxsize=1)
def _kit() -> HeadKit:
    return HeadKit.load(Path(__file__).parent / "data" / "facekit_small.npz")
