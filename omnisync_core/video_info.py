"""What a video file holds: size, rate, the true time of every frame (the first look at the input).

In: a path. Out: a `VideoInfo`. The whole stream is decoded once, without keeping a picture: packet
time stamps lie about hidden, dropped and field-coded frames, and damage shows up here, before any
work, not after hours of it. Cost: about 3 ms per 1080p frame on one core, a small
part of editing it.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import numpy as np

from .errors import UserError
from .ffmpeg import Ffmpeg, input_arguments, is_cut_off, is_stream, opening_error, readable_file

_CONFIG = re.compile(r"config in time_base: (\d+)/(\d+), frame_rate: (\d+)/(\d+)")
_FRAME = re.compile(
    r"\bn: *\d+ pts: *(-?\d+|NOPTS)\b.*?\bduration: *(-?\d+|NOPTS)\b"
    r".*?\bsar:(\d+)/(\d+) s:(\d+)x(\d+) "
)
# What decoders and demuxers say of a stretch that they cannot make sense of.
_DAMAGE = re.compile(
    r"Error submitting packet|Error while decoding|corrupt decoded frame|concealing \d+|"
    r"exceeds containing master element"
)
_COLOUR = re.compile(r"\bcolor_(space|primaries|trc):(\S+)")
_CONTAINER = re.compile(r"^Input #0, (\S+), from")
MATRICES = {
    "bt709": "bt709",
    "bt470bg": "bt470",
    "smpte170m": "smpte170m",
    "smpte240m": "smpte240m",
    "fcc": "fcc",
    "bt2020nc": "bt2020",
    "bt2020c": "bt2020",
}
"""swscale's names of the YCbCr matrices, by ffmpeg's names of the tags."""
# Logs every frame and keeps none. 0:V leaves attached cover pictures out.
_ALL_FRAMES = ("-map", "0:V:0", "-fps_mode", "passthrough", "-vf", "showinfo=checksum=0")
_ALL_FRAMES += ("-f", "null", "-")
FIRST_FRAME = ("-frames:v", "1", *_ALL_FRAMES)
"""Output arguments with which ffmpeg logs what a `FrameLog` reads, for one frame."""
# Demuxers of still pictures: image2, png_pipe, jpeg_pipe, ...; and the brands of the still formats
# that live in the mp4 container. `tty` would play any text file as a film.
_STILL_CONTAINER = re.compile(r"image2|\w+_pipe|tty")
_STILL_BRAND = re.compile(r"major_brand *: (avif|heic|heix|mif1)\b")


# Seconds that a frame may be moved to keep the time stamps rising. A guess: more is no clock's
# rounding any more but a jump (a joined recording).
_MOST_NUDGE = Fraction(1, 2)


@dataclass(frozen=True, kw_only=True)
class Display:
    """How a player is to show the pixel numbers; taken over from the source unchanged."""

    pixel_aspect: Fraction = Fraction(1)
    """Width of a pixel over its height."""
    matrix: str = "bt709"
    """YCbCr matrix, in the words of ffmpeg's -colorspace."""
    primaries: str = "bt709"
    """Colour primaries, in the words of ffmpeg's -color_primaries; "unknown" is allowed."""
    transfer: str = "bt709"
    """Transfer curve, in the words of ffmpeg's -color_trc; "unknown" is allowed."""


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoInfo:
    """One video file as a player shows it."""

    width: int
    """Pixels, after rotation, before the pixel aspect. Of the first frame: where a video changes
    its size half-way, `read_frames` scales the rest to it."""
    height: int
    """Pixels, after rotation."""
    frames: int
    """Frames that the decoder delivers: exactly as many as `read_frames` yields."""
    rate: Fraction
    """Frames per second; the average where the rate varies."""
    times: np.ndarray
    """Float64 [frames]: when each frame appears, in seconds, the first at 0, strictly rising."""
    variable_rate: bool
    """Whether `times` leave the grid of `rate` by more than the container's own rounding."""
    has_audio: bool
    duration: float
    """Seconds, to the end of the last frame."""
    damaged: bool = False
    """Whether parts in the middle cannot be decoded: their frames are missing (the one before
    lasts as long) or patched up by the decoder; `times` and the sound stay in step."""
    display: Display = Display()
    clock_start: float | None = None
    """Time of the first frame on ffmpeg's clock of the file; None where time stamps are missing
    (then the file can only be read from its start)."""


@dataclass
class FrameLog:
    """What is picked from ffmpeg's log, line by line, while it decodes."""

    head: list[str] = field(default_factory=list)
    ticks: array = field(default_factory=lambda: array("q"))
    lost_stamp: bool = False
    cut_off: bool = False
    damaged: bool = False
    time_base: Fraction = Fraction(0)
    nominal: Fraction = Fraction(0)
    first: re.Match[str] | None = None
    last_ticks: int = 0
    colour: dict[str, str] = field(default_factory=dict)

    @property
    def first_time(self) -> float | None:
        """Seconds on ffmpeg's clock of the file, None without a frame or a time stamp."""
        usable = self.ticks and not self.lost_stamp and self.time_base
        return float(self.ticks[0] * self.time_base) if usable else None

    def read(self, line: str) -> None:
        for match in _FRAME.finditer(line):
            self.first = self.first or match
            self.lost_stamp |= match[1] == "NOPTS"
            self.ticks.append(0 if match[1] == "NOPTS" else int(match[1]))
            self.last_ticks = 0 if match[2] == "NOPTS" else int(match[2])
        if match := _CONFIG.search(line):
            self.time_base = _fraction(match[1], match[2])
            self.nominal = self.nominal or _fraction(match[3], match[4])
        if len(self.colour) < 3:
            self.colour.update(_COLOUR.findall(line))
        self.cut_off |= is_cut_off(line)
        self.damaged |= _DAMAGE.search(line) is not None
        if not self.first:
            self.head.append(line)


def probe_video(path: str | Path) -> VideoInfo:
    """Size, rate and the time of every frame of a video file.

    Raises UserError for a missing, unreadable or empty file, a folder, a picture, sound alone, a
    file that ends too early, and one that yields no frame. The answer is kept as long as the
    file's size and date stay the same.
    """
    path = readable_file(path)
    state = path.stat()
    info = _probe(path, state.st_size, state.st_mtime_ns)
    return replace(info, times=info.times.copy())


@lru_cache(maxsize=8)
def _probe(path: Path, size: int, modified: int) -> VideoInfo:
    log = _decode_log(path)
    _refuse_stills(path, log)
    if log.first is None:
        raise UserError(
            f"no frame of {path} can be decoded; open it in a player to check it, or export it "
            "again as .mp4"
        )
    times, stamped = _times(log)
    if log.cut_off:
        raise UserError(
            f"{path} is cut off or damaged: its last good frame is at {times[-1]:.3f} s; copy or "
            "download it again, or export the good part as a new file"
        )
    rate, variable = _find_rate(times, nominal=log.nominal, tick=float(log.time_base))
    last = float(log.last_ticks * log.time_base) or float(1 / rate)
    return VideoInfo(
        width=int(log.first[5]),
        height=int(log.first[6]),
        frames=len(times),
        rate=rate,
        times=times,
        variable_rate=variable,
        has_audio=any(is_stream(line, "Audio") for line in log.head),
        duration=float(times[-1]) + last if variable else float(len(times) / rate),
        damaged=log.damaged,
        display=_display(log),
        clock_start=log.first_time if stamped else None,
    )


def first_stamp(arguments: Sequence[str]) -> float | None:
    """Time in seconds, on ffmpeg's clock, of the first frame that the input arguments lead to."""
    return _run([*arguments, *FIRST_FRAME])[0].first_time


def _run(arguments: Sequence[str]) -> tuple[FrameLog, int]:
    log = FrameLog()
    # The loop filter changes no count and no time stamp.
    with Ffmpeg(["-skip_loop_filter", "all", *arguments], on_line=log.read) as child:
        return log, child.wait()


def _decode_log(path: Path) -> FrameLog:
    log, status = _run([*input_arguments(path), *_ALL_FRAMES])
    if status and not log.first:
        if not any(_CONTAINER.match(line) for line in log.head):
            raise opening_error(path, log.head)
        if not any(is_stream(line, "Video", attached=False) for line in log.head):
            sound = any(is_stream(line, "Audio") for line in log.head)
            raise UserError(
                f"expected a video, but {path} holds {'only sound' if sound else 'no picture'}; "
                "give the video first and the voice second"
            )
    log.cut_off |= bool(status)
    return log


def _refuse_stills(path: Path, log: FrameLog) -> None:
    text = "\n".join(log.head)
    container = next((m[1] for line in log.head if (m := _CONTAINER.match(line))), "")
    if _STILL_CONTAINER.fullmatch(container) or _STILL_BRAND.search(text):
        raise UserError(
            f"expected a video, but {path} is a still picture; hold it for some seconds in a video "
            "editor, or use 'ffmpeg -loop 1 -i PICTURE -t SECONDS OUT.mp4'"
        )


def _fraction(numerator: str, denominator: str) -> Fraction:
    return Fraction(int(numerator), int(denominator)) if int(denominator) else Fraction(0)


def _times(log: FrameLog) -> tuple[np.ndarray, bool]:
    """Seconds from the first frame, and whether they are the file's own time stamps.

    Frames that share a stamp are set one tick apart (a coarse clock); without stamps, or where they
    jump back, what is left is an even grid.
    """
    ticks = np.frombuffer(log.ticks, dtype=np.int64)
    number = np.arange(len(ticks))
    rising = np.maximum.accumulate(ticks - number) + number
    base = log.time_base
    if not log.lost_stamp and base and (rising - ticks).max() * base <= _MOST_NUDGE:
        return (rising - rising[0]) * base.numerator / base.denominator, True
    # 25 is what ffmpeg itself assumes for a stream that does not say.
    return number / float(log.nominal or 25), False


def _find_rate(times: np.ndarray, *, nominal: Fraction, tick: float) -> tuple[Fraction, bool]:
    """The frame rate, and whether it varies.

    The grid is left when a frame is off by more than a tick of the container's clock (its
    rounding, 1 ms in Matroska), or a quarter frame where the clock is that coarse.
    """
    if len(times) < 2:
        return nominal or Fraction(25), False
    average = Fraction((len(times) - 1) / float(times[-1]))
    whole = Fraction(max(1, round(average)))
    film = Fraction(max(1, round(average * Fraction(1001, 1000))) * 1000, 1001)
    # Matroska's own word may be a bad guess (19001/317 for 59.94): the usual rate next to it first.
    usual = sorted([whole, film], key=lambda rate: abs(rate - (nominal or average)))
    candidates = [*usual, nominal, average.limit_denominator(1001)]
    for rate in filter(None, candidates):
        grid = np.arange(len(times)) * rate.denominator / rate.numerator
        if np.abs(times - grid).max() <= min(1.01 * tick, 0.25 / float(rate)) + 1e-9:
            return rate, False
    return average.limit_denominator(1001), True


def _display(log: FrameLog) -> Display:
    assert log.first is not None
    matrix = log.colour.get("space", "unknown")
    if matrix in ("unknown", "reserved"):
        matrix = _usual_matrix(int(log.first[5]), int(log.first[6]))
    elif matrix in ("gbr", "ycgco"):  # RGB inside: any matrix will do for writing it
        matrix = "bt709"
    return Display(
        pixel_aspect=_fraction(log.first[3], log.first[4]) or Fraction(1),
        matrix=matrix,
        primaries=_known(log.colour.get("primaries")),
        transfer=_known(log.colour.get("trc")),
    )


def _usual_matrix(width: int, height: int) -> str:
    """What players take for a file without a tag (mpv's rule: HD by its size)."""
    return "bt709" if width >= 1280 or height > 576 else "smpte170m"


def _known(tag: str | None) -> str:
    return tag if tag and tag not in ("reserved", "reserved0") else "unknown"
