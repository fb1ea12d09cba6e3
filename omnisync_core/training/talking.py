"""Real training clips from any folder of talking videos, without landmarks.

In: a folder of videos or pictures, a trained voice (voice.py). Out: a pack as real.py makes it
(crops at 25 frames a second, landmarks, sounds), and for every piece why it was kept or dropped.
It reads the layouts in which the usual sets come: LRS2 (main/ID/NUMBER.mp4), VoxCeleb2
(mp4/ID/VIDEO/NUMBER.mp4 with the sound in aac/ID/VIDEO/NUMBER.m4a), CelebA-HQ (a folder of
pictures), generated video without a sound. What has no sound teaches looks, never lips: it is
packed as unheard and trained on without audio.

A take is three seconds of one face in one shot. Landmarks are not measured: a mean face
(face_template.npy, over the GRID training clips) is carried along by registering the part of the
face that speech does not move, which is all that pairs need of them. Sound and lips are compared:
what the voice encoder hears of the lips' opening against how the mouth's picture changes most; the
sound is shifted by the lag that fits best, and a take in which nothing fits is dropped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from einops import rearrange
from safetensors.torch import load_file

from ..audio import SAMPLE_RATE, AudioEncoder
from ..composite import take_crop
from ..config import preset
from ..errors import UserError
from ..media import VideoInfo, probe_video, read_audio, read_frames
from ..pipeline import track_mouth
from ..region import Box
from .pairs import RATE
from .real import LIPS, MARGIN, PACKED, PackedClip, packed_side
from .voice import VoiceHeads, token_times

TAKE = 75
"""Frames of a take: three seconds, as long as a GRID clip."""
SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg")
PICTURES = (".jpg", ".jpeg", ".png", ".webp")
# Share of the resolution that training sees; less would teach blur.
_SMALLEST = 0.5
_MOST_LAG = 8  # frames; web clips were seen up to seven off
# Agreement of heard and seen lips under which a take is dropped; see the figures in docs/LOG.md.
_AGREE = 0.65
# Sharpness (see _too_blurred) under which a take is dropped: 14 web clips and 94 GRID takes have
# 0.16 to 0.40; blurred by two pixels, the web clips have 0.07 to 0.13.
_SHARP = 0.15
# The head may not jump within a take: more than this share of the crop's side between two frames.
_JUMP = 0.15
_TEMPLATE = np.load(Path(__file__).parent / "face_template.npy").astype(np.float32) * PACKED
# What speech moves least, in packed crops: from the eyes down to the nose's wings.
_STILL_ROWS = slice(0, round(0.36 * PACKED))
# The lips and a little around them.
_LIP_ROWS = slice(round(0.38 * PACKED), round(0.62 * PACKED))
_LIP_COLUMNS = slice(round(0.33 * PACKED), round(0.67 * PACKED))


@dataclass(frozen=True)
class Take:
    """Three seconds of one face, or one picture: the crops with landmarks, and the sound [n] at
    16 kHz; None where there is none."""

    clip: PackedClip
    sound: np.ndarray | None


@dataclass(frozen=True)
class Verdict:
    """What became of a piece of video."""

    name: str
    kept: bool
    why: str


class Listener:
    """The voice encoder with its heads: what lips a sound lets expect."""

    def __init__(self, voice: Path, model: str = "mini") -> None:
        config = preset(model)
        self.side = packed_side(config.crop)  # of the crops that such a model is trained on
        self.encoder, self.heads = AudioEncoder(config), VoiceHeads(config.audio_width)
        tensors = load_file(voice)
        try:
            for name, module in (("encoder.", self.encoder), ("heads.", self.heads)):
                own = {k[len(name) :]: v for k, v in tensors.items() if k.startswith(name)}
                module.load_state_dict(own)
        except RuntimeError:
            raise UserError(
                f"{voice} holds no voice encoder of {model!r} with its heads; train one with "
                "`python -m omnisync_core.training.voice`."
            ) from None
        self.encoder.eval()

    @torch.no_grad()
    def opening(self, sound: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The lips' expected opening of a sound [n] at 16 kHz: times in seconds [m], values [m]."""
        tokens = self.encoder.encode(torch.from_numpy(np.ascontiguousarray(sound)))
        heard = self.heads.lips(tokens)[:, 0].numpy()
        return token_times(len(sound))[: len(heard)], heard


def sources_in(folder: Path) -> list[Path]:
    """Every video and picture below a folder, in a fixed order."""
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES + PICTURES)
    if not found:
        raise UserError(
            f"Expected videos ({', '.join(SUFFIXES)}) or pictures ({', '.join(PICTURES)}) in "
            f"{folder}; there are none: name the folder that holds them."
        )
    return found


def _sound_beside(path: Path, info: VideoInfo) -> Path | None:
    """The file with a video's sound: the video, or VoxCeleb2's aac/... beside its mp4/... ."""
    if info.has_audio:
        return path
    for i in reversed([i for i, part in enumerate(path.parts[:-1]) if part == "mp4"]):
        other = Path(*path.parts[:i], "aac", *path.parts[i + 1 :]).with_suffix(".m4a")
        if other.exists():
            return other
    return None


def takes_of(path: Path, name: str, listener: Listener) -> Iterator[Take | Verdict]:
    """Every take of a video or picture that is fit for training, and what was dropped and why.

    name: what its takes are called, with a number after it.
    """
    if path.suffix.lower() in PICTURES:
        yield from _still(path, name, listener.side)
        return
    try:
        info = probe_video(path)
        spoken = _sound_beside(path, info)
        sound = read_audio(spoken, rate=SAMPLE_RATE) if spoken else None
        tracking = track_mouth(read_frames(path, info=info), info.times)
    except UserError as error:
        yield Verdict(name, False, str(error))
        return
    spans = [_span(info.times, start, stop) for start, stop in tracking.runs()]
    takes = [span[i : i + TAKE] for span in spans for i in range(0, len(span) - TAKE + 1, TAKE)]
    if not takes:
        yield Verdict(name, False, "no face for three seconds of one shot")
        return
    expected = None if sound is None else listener.opening(sound)
    frames, number, frame = iter(read_frames(path, info=info)), -1, np.empty(0)
    for k, indexes in enumerate(takes):
        crops = np.empty((TAKE, listener.side, listener.side, 3), np.uint8)
        boxes = [tracking.track[i] for i in indexes]
        for row, (index, box) in enumerate(zip(indexes, boxes, strict=True)):
            while number < index:
                number, frame = number + 1, next(frames)
            assert box is not None  # runs() leaves such frames out
            crops[row] = _packed(frame, box, listener.side)
        at = float(info.times[indexes[0]])
        yield from _judged(f"{name}_{k}", crops, [b for b in boxes if b], sound, expected, at)


def _still(path: Path, name: str, side: int) -> Iterator[Take | Verdict]:
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        yield Verdict(name, False, "the picture cannot be read")
        return
    picture = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    (box,) = track_mouth([picture], np.zeros(1)).track
    if box is None:
        yield Verdict(name, False, "no face")
    elif small := _too_small(box.side, side):
        yield Verdict(name, False, small)
    elif blur := _too_blurred(_looked_at(crops := _packed(picture, box, side)[None])):
        yield Verdict(name, False, blur)
    else:
        yield Take(PackedClip(name, crops, _TEMPLATE[None] * side / PACKED), None)
        yield Verdict(name, True, "a picture: teaches looks, not lips")


def _too_small(shown: float, side: int) -> str:
    """Why a face whose crop is that many pixels wide is too small for packs, or nothing."""
    small = shown < _SMALLEST * side / MARGIN
    return f"the face is too small (crop of {shown:.0f} pixels)" if small else ""


def _looked_at(crops: np.ndarray) -> np.ndarray:
    """Crops [f, s, s, 3] at the size [f, 180, 180, 3] that every measure here is made for."""
    if crops.shape[1] == PACKED:
        return crops
    size = (PACKED, PACKED)
    return np.stack([cv2.resize(crop, size, interpolation=cv2.INTER_AREA) for crop in crops])


def _too_blurred(crops: np.ndarray) -> str:
    """Why crops [f, s, s, 3] are not sharp enough, or nothing.

    Sharpness is the deviation of the middle of the face's Laplacian, relative to its own contrast,
    so that dark pictures are not taken for blurred ones.
    """
    inner = slice(PACKED // 4, -PACKED // 4)
    shares = []
    for crop in crops[:: max(1, len(crops) // 5)]:
        grey = cv2.cvtColor(crop[inner, inner], cv2.COLOR_RGB2GRAY).astype(np.float32)
        shares.append(cv2.Laplacian(grey, cv2.CV_32F).std() / max(grey.std(), 1.0))
    share = float(np.median(shares))
    return f"blurred ({share:.3f})" if share < _SHARP else ""


def _span(times: np.ndarray, start: int, stop: int) -> np.ndarray:
    """The frames start..stop - 1 nearest to a clock of 25 a second."""
    clock = np.arange(times[start], times[stop - 1] + 1e-9, 1 / RATE)
    after = np.searchsorted(times[start:stop], clock).clip(1, max(1, stop - start - 1)) + start
    before = after - 1
    nearer = np.abs(times[before] - clock) <= np.abs(times[np.minimum(after, stop - 1)] - clock)
    return np.where(nearer, before, np.minimum(after, stop - 1))


def _packed(frame: np.ndarray, box: Box, side: int) -> np.ndarray:
    crop = take_crop(frame, Box(box.cx, box.cy, box.side * MARGIN), side)
    return ((rearrange(crop, "c y x -> y x c").numpy() + 1) * 127.5).round().astype(np.uint8)


def _judged(
    name: str,
    crops: np.ndarray,
    boxes: list[Box],
    sound: np.ndarray | None,
    expected: tuple[np.ndarray, np.ndarray] | None,
    at: float,
) -> Iterator[Take | Verdict]:
    shown = float(np.median([box.side for box in boxes]))
    steps = np.diff([(box.cx, box.cy) for box in boxes], axis=0)
    if small := _too_small(shown, crops.shape[1]):
        yield Verdict(name, False, small)
        return
    if np.abs(steps).max() > _JUMP * shown:
        yield Verdict(name, False, "the head jumps")
        return
    seen = _looked_at(crops)
    if blur := _too_blurred(seen):
        yield Verdict(name, False, blur)
        return
    landmarks = carry_template(seen)
    if landmarks is None:
        yield Verdict(name, False, "the face cannot be followed (covered, turned or blurred)")
        return
    clip = PackedClip(name, crops, landmarks * crops.shape[1] / PACKED)
    if sound is None or expected is None:
        yield Take(clip, None)
        yield Verdict(name, True, "no sound: teaches looks, not lips")
        return
    agreement, lag = measure_sync(seen, landmarks, expected, at)
    if agreement < _AGREE:
        yield Verdict(name, False, f"lips and sound do not agree ({agreement:.2f})")
        return
    first = round((at - lag / RATE) * SAMPLE_RATE)
    count = round(TAKE / RATE * SAMPLE_RATE)
    before, after = max(0, -first), max(0, first + count - len(sound))
    piece = np.pad(sound[max(0, first) : first + count], (before, after))
    yield Take(clip, piece)
    yield Verdict(name, True, f"agreement {agreement:.2f}, sound moved by {-lag} frames")


def carry_template(crops: np.ndarray) -> np.ndarray | None:
    """The mean face's 96 landmarks in every packed crop [f, 96, 2], or None where it is lost.

    Each crop is registered to the middle one by a turn and a shift (ECC, Evangelidis and Psarakis
    2008) over the part that speech does not move.
    """
    grey = [cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY) for crop in crops]
    middle = grey[len(grey) // 2]
    still = np.zeros(middle.shape, np.uint8)
    still[_STILL_ROWS] = 1
    rule = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 40, 1e-4)
    out = np.empty((len(crops), *_TEMPLATE.shape), np.float32)
    homogeneous = np.concatenate([_TEMPLATE, np.ones((len(_TEMPLATE), 1), np.float32)], axis=1)
    matrix = np.eye(2, 3, dtype=np.float32)
    for order in (range(len(crops) // 2, len(crops)), range(len(crops) // 2, -1, -1)):
        matrix = np.eye(2, 3, dtype=np.float32)
        for i in order:  # outwards, each from its neighbour's pose
            try:
                _, matrix = cv2.findTransformECC(
                    middle, grey[i], matrix, cv2.MOTION_EUCLIDEAN, rule, still, 5
                )
            except cv2.error:
                return None
            out[i] = homogeneous @ matrix.T
    return out


def measure_sync(
    crops: np.ndarray, landmarks: np.ndarray, expected: tuple[np.ndarray, np.ndarray], at: float
) -> tuple[float, int]:
    """How well heard and seen lips agree, 0 to 1, and by how many frames the lips are late.

    Seen: the two strongest ways in which the lips' picture changes (principal components), for
    nothing says which way opening goes. Agreement: their multiple correlation with the opening that
    the sound lets expect (times and values, see Listener), at the best lag; at: the first crop's
    time in seconds.
    """
    shapes = np.stack([_lips(crop, points) for crop, points in zip(crops, landmarks, strict=True)])
    shapes = shapes.reshape(len(shapes), -1)
    seen = np.linalg.svd(shapes - shapes.mean(0), full_matrices=False)[0][:, :2]
    times = at + np.arange(len(crops)) / RATE
    best = (0.0, 0)
    for lag in range(-_MOST_LAG, _MOST_LAG + 1):
        heard = np.interp(times - lag / RATE, *expected)
        heard = heard - heard.mean()
        # seen is orthonormal and, as the mean was taken out, without an offset.
        explained = float(((seen.T @ heard) ** 2).sum() / max(float((heard**2).sum()), 1e-9))
        best = max(best, (explained**0.5, lag), key=lambda one: (one[0], -abs(one[1])))
    return best


def _lips(crop: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The lips' surroundings, moved with the face, small and grey: f32 [16, 24]."""
    shift = points[LIPS].mean(0) - _TEMPLATE[LIPS].mean(0)
    matrix = np.array([[1, 0, -shift[0]], [0, 1, -shift[1]]], np.float32)
    moved = cv2.warpAffine(crop, matrix, (PACKED, PACKED), borderMode=cv2.BORDER_REPLICATE)
    grey = cv2.cvtColor(moved[_LIP_ROWS, _LIP_COLUMNS], cv2.COLOR_RGB2GRAY)
    return cv2.resize(grey, (24, 16), interpolation=cv2.INTER_AREA).astype(np.float32)
