"""Frames and a sound into a new video file (the last step of the way).

In: uint8 RGB frames [height, width, 3] one at a time, and a sound. Out: .mp4, .mov or .mkv of the
same size, rate and frame times; the file appears whole at the end or not at all.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import KW_ONLY, dataclass, field
from fractions import Fraction
from glob import escape
from pathlib import Path
from types import TracebackType

import numpy as np

from . import __version__
from .audio_files import AudioSource, sound_input
from .errors import UserError
from .ffmpeg import Ffmpeg
from .uneven_frames import clock_of, frame_header, stream_header
from .video_info import MATRICES, Display

FORMATS = (".mp4", ".mov", ".mkv")

# Chroma is averaged on the way down, which undoes the reader's interpolation best: 61 to 65 dB,
# with bilinear 57 to 61 (720p, bt709).
_FROM_RGB_FLAGS = "area+accurate_rnd+full_chroma_inp"
# 45 dB against the source on a 1080p clip; medium costs 1.8 times veryfast.
_X264 = ["-c:v", "libx264", "-preset", "medium", "-crf", "16"]
_X264_LOSSLESS = ["-c:v", "libx264rgb", "-preset", "veryfast", "-qp", "0"]
_FFV1 = ["-c:v", "ffv1", "-level", "3", "-g", "1", "-slicecrc", "1"]
_AAC = ["-c:a", "aac", "-b:a", "192k"]
_ALAC = ["-c:a", "alac", "-sample_fmt", "s32p"]
_FLAC = ["-c:a", "flac", "-sample_fmt", "s32"]


@dataclass
class FrameWriter:
    """Writes one video file; a context manager.

    Leaving the block well moves a temporary file from the same folder onto `path`; leaving it by an
    exception (Ctrl-C too) ends ffmpeg and removes everything. Raises UserError as `check_output`
    and `read_audio` do, and with ffmpeg's last words when it fails (a full disk).
    """

    path: str | Path
    """Where to: .mp4, .mov or .mkv. An existing file is replaced at the very end."""
    _: KW_ONLY
    width: int
    """Pixels. Odd sizes are written with full chroma (4:4:4), which 4:2:0 cannot do."""
    height: int
    rate: Fraction
    """Frames per second."""
    times: np.ndarray | None = None
    """Float [frames], seconds, rising from 0: when each frame appears, where the rate varies. Kept
    exactly in .mp4 and .mov; Matroska rounds to its clock of 1 ms."""
    audio: AudioSource | None = None
    """The sound, whole, at its own rate and channels; None: no sound."""
    seconds: float | None = None
    """Length of the clip: the sound is padded with silence or cut to the sample, and with `times`
    the last frame ends here. None: the sound as long as it is, the last frame as the rate says."""
    lossless: bool = False
    """RGB bit for bit, sound to 24 bits: FFV1 in .mkv, x264 RGB and ALAC in .mp4 and .mov."""
    display: Display = field(default_factory=Display)
    """Pixel aspect and colour tags, from the source's `VideoInfo`."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Further tags. The comment says that OmniSync edited the file, and which version."""

    def __enter__(self) -> FrameWriter:
        inputs = [self.audio] if isinstance(self.audio, (str, Path)) else []
        target = check_output(self.path, inputs=inputs)
        self._check()
        self._written = 0
        with ExitStack() as stack:
            self._part = stack.enter_context(_part_file(target))
            arguments, sound = self._picture_input(), None
            if self.audio is not None:
                length = self.seconds
                sound = stack.enter_context(
                    sound_input(self.audio, seconds=length, folder=target.parent)
                )
                arguments += [*sound.arguments, "-map", "0:v:0", "-map", "1:a:0"]
                arguments += ["-af", sound.filter, *self._sound_codec()]
            arguments += [*self._picture_codec(), *self._tags(), "-y", f"file:{self._part}"]
            self._child = stack.enter_context(Ffmpeg(["-v", "error", *arguments], feed=True))
            if self.times is not None:
                self._feed(stream_header(self.width, self.height))
            self._stack = stack.pop_all()
        return self

    def write(self, frame: np.ndarray) -> None:
        """Append one frame, uint8 [height, width, 3]. Waits while ffmpeg is busy."""
        expected = (self.height, self.width, 3)
        if frame.shape != expected or frame.dtype != np.uint8:
            raise ValueError(
                f"expected a uint8 frame of shape {expected}, got {frame.dtype} {frame.shape}"
            )
        if self.times is not None:
            self._feed(self._frame_header(self.times))
        self._feed(np.ascontiguousarray(frame).data.cast("B"))
        self._written += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._stack:
            if kind is None:
                self._finish()

    def _finish(self) -> None:
        if not self._written or (self.times is not None and self._written < len(self.times)):
            wanted = "1 frame or more" if self.times is None else f"{len(self.times)} frames"
            raise ValueError(f"expected {wanted} for {self.path}, got {self._written}")
        try:
            self._child.close_feed()
        except OSError:
            pass  # the exit status below tells more
        if self._child.wait():
            raise self._failure()
        try:
            self._part.replace(self.path)
        except OSError as error:
            raise UserError(
                f"cannot replace {self.path}: {error.strerror}; close the program that has it open"
            ) from error

    def _feed(self, data: bytes | memoryview) -> None:
        try:
            self._child.feed(data)
        except OSError as error:
            self._child.wait()
            raise self._failure() from error

    def _failure(self) -> UserError:
        words = self._child.last_words()
        full = any(sign in words for sign in ("No space left", "File too large", "quota"))
        remedy = "free some space or choose another folder" if full else "try another output format"
        return UserError(f"ffmpeg could not write {self.path} ({words}); {remedy}")

    def _check(self) -> None:
        if self.width < 1 or self.height < 1 or self.rate <= 0:
            raise ValueError(
                f"expected a size and rate above 0, got {self.width}x{self.height} at {self.rate}"
            )
        times = np.zeros(1) if self.times is None else self.times
        if times.ndim != 1 or not len(times) or times[0] != 0 or (np.diff(times) <= 0).any():
            raise ValueError("expected times [frames] that start at 0 and rise; pass None for even")

    def _picture_input(self) -> list[str]:
        if self.times is not None:
            return ["-f", "matroska", "-i", "pipe:0"]
        size = f"{self.width}x{self.height}"
        raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-video_size", size]
        return [*raw, "-framerate", _ratio(self.rate), "-i", "pipe:0"]

    def _frame_header(self, times: np.ndarray) -> bytes:
        number = self._written
        if number >= len(times):
            raise ValueError(f"expected {len(times)} frames, as many as times, got one more")
        time = float(times[number])
        if number + 1 < len(times):
            after = float(times[number + 1])
        elif self.seconds is not None and self.seconds > time:
            after = self.seconds
        else:
            after = time + float(1 / self.rate)
        return frame_header(time, after - time, size=self.width * self.height * 3)

    def _picture_codec(self) -> list[str]:
        show, mkv = self.display, self._suffix == ".mkv"
        colours = f"color_primaries={show.primaries}:color_trc={show.transfer}"
        if self.lossless:
            codec = _FFV1 if mkv else _X264_LOSSLESS
            filters = ["format=bgr0" if mkv else "format=rgb24", f"setparams={colours}"]
        else:
            codec = _X264
            odd = self.width % 2 or self.height % 2
            matrix = MATRICES.get(show.matrix, "bt709")
            filters = [
                f"scale=flags={_FROM_RGB_FLAGS}:out_color_matrix={matrix}:out_range=tv",
                f"format={'yuv444p' if odd else 'yuv420p'}",
                f"setparams=range=tv:colorspace={show.matrix}:{colours}",
            ]
        filters.append(f"setsar=ratio={_ratio(show.pixel_aspect)}:max=65535")
        arguments = ["-vf", ",".join(filters), *codec, "-fps_mode", "passthrough"]
        if self.times is None:
            return arguments
        clock = clock_of(self.times)
        arguments += ["-enc_time_base:v", f"1/{clock}"]
        return arguments if mkv else [*arguments, "-video_track_timescale", str(clock)]

    def _sound_codec(self) -> list[str]:
        if self._suffix == ".mkv":  # Matroska has no room for AAC's padding: 8 ms too long
            return _FLAC
        return _ALAC if self.lossless else _AAC

    def _tags(self) -> list[str]:
        edited = f"Edited with OmniSync {__version__}: the lips follow another voice"
        tags = {"comment": edited, **self.metadata}
        # bitexact: Matroska would draw a random number for every file.
        arguments = ["-map_metadata", "-1", "-map_chapters", "-1", "-fflags", "+bitexact"]
        for key, value in tags.items():
            arguments += ["-metadata", f"{key}={value}"]
        if self._suffix == ".mkv":
            return arguments
        return [*arguments, "-movflags", "+faststart+use_metadata_tags"]

    @property
    def _suffix(self) -> str:
        return Path(self.path).suffix.lower()


def check_output(
    path: str | Path, *, inputs: Iterable[str | Path] = (), suffixes: Iterable[str] = FORMATS
) -> Path:
    """`path` as a Path if a file can be written there; call it before any long work.

    Raises UserError for an unknown extension, a missing folder, one that cannot be written, a
    folder instead of a file, and a path that is one of the `inputs`.
    """
    path, known = Path(path), list(suffixes)
    if path.is_dir():
        raise UserError(f"expected an output file, got the folder {path}; add a file name")
    if path.suffix.lower() not in known:
        raise UserError(
            f"expected an output file ending in {', '.join(known)}, got {path.name}; "
            "change the ending"
        )
    if not path.parent.is_dir():
        raise UserError(f"there is no folder {path.parent} for the output; create it first")
    if path.exists() and any(Path(other).exists() and path.samefile(other) for other in inputs):
        raise UserError(f"the output {path} is one of the inputs; choose another name")
    with _part_file(path):
        return path


@contextmanager
def _part_file(target: Path) -> Iterator[Path]:
    """An empty file beside `target` that is gone when the block ends, unless it was moved away."""
    part = target.with_name(f".{target.stem}.{secrets.token_hex(4)}.part{target.suffix.lower()}")
    try:
        part.touch(exist_ok=False)  # not tempfile: its files are for the owner alone
    except OSError as error:
        raise UserError(
            f"cannot write into {target.parent}: {error.strerror}; choose another output folder"
        ) from error
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


def remove_stale_parts(target: str | Path) -> None:
    """Remove what a killed run left beside its output; only when no other run writes there."""
    target = Path(target)
    for part in target.parent.glob(f".{escape(target.stem)}.????????.part{target.suffix.lower()}"):
        part.unlink(missing_ok=True)


def _ratio(value: Fraction) -> str:
    return f"{value.numerator}/{value.denominator}"
