"""Sound out of any audio or video file, for the model and for the finished clip.

In: a path, or a waveform with its rate. Out: mono float32 in [-1, 1] for the model; ffmpeg
arguments that bring the same sound at full quality into the output. Both start at the same moment:
at the first sample, or, where the file also has a picture, at its first frame.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from .errors import UserError
from .ffmpeg import Ffmpeg, input_arguments, is_cut_off, is_stream, opening_error, readable_file
from .video_info import FIRST_FRAME, FrameLog

AudioSource: TypeAlias = "str | Path | tuple[np.ndarray, int]"
"""A file, or (float waveform [channels, samples] or [samples] in [-1, 1], samples per second)."""

# ashowinfo: the first frame of the sound, its time in samples and the rate.
_FIRST_SOUND = re.compile(r"\bn:0 pts:(-?\d+|NOPTS) .*? rate:(\d+) ")
# What the encoders of the output formats take.
_MOST_CHANNELS = 8


@dataclass(frozen=True, kw_only=True)
class SoundInput:
    """How ffmpeg gets at a sound: input arguments, and the filter that trims it to length."""

    arguments: list[str]
    filter: str


def read_audio(source: AudioSource, *, rate: int = 16000) -> np.ndarray:
    """The sound of a file (its first track) or a waveform as float32 [samples], mixed to mono.

    In [-1, 1] (a float file may go beyond), `rate` samples per second. Raises UserError for a
    missing or unreadable file, one without sound or of no length, one that ends too early, and
    NaN or infinite samples.
    """
    what = "the waveform" if isinstance(source, tuple) else f"the sound of {source}"
    lines: list[str] = []
    with sound_input(source, seconds=None, folder=Path(tempfile.gettempdir())) as sound:
        # maxval: the mean of the channels, where swresample's float default is 3 dB louder
        mono = f"aresample={rate}:rematrix_maxval=1,aformat=sample_fmts=flt:channel_layouts=mono"
        arguments = [*sound.arguments, "-map", "0:a:0", "-af", f"{sound.filter},{mono}"]
        arguments = ["-v", "warning", *arguments, "-f", "f32le", "pipe:1"]
        heard = bytearray()  # grows in place: half an hour is 115 MB, and once is enough
        with Ffmpeg(arguments, on_line=lines.append) as child:
            while block := child.stdout.read(2**20):
                heard += block
            status = child.wait()
    samples = np.frombuffer(heard, dtype="<f4")
    if status or any(map(is_cut_off, lines)):
        raise UserError(
            f"{what} is cut off or damaged after {len(samples) / rate:.3f} s; copy or download it "
            "again, or export the good part as .wav"
        )
    _check_samples(samples, what)
    return samples.astype(np.float32, copy=False)


@contextmanager
def sound_input(
    source: AudioSource, *, seconds: float | None, folder: Path
) -> Iterator[SoundInput]:
    """Bring `source` to ffmpeg, padded with silence or cut to exactly `seconds` (None: as it is).

    A waveform waits in a file in `folder` until the block ends.
    """
    if isinstance(source, (str, Path)):
        path = readable_file(source)
        offset, rate = _look(path)
        start = _from_picture_start(offset, rate)
        yield SoundInput(arguments=input_arguments(path), filter=start + _fit(seconds, rate))
        return
    waveform, rate = source
    waveform = _checked_waveform(waveform, rate)
    path = _raw_file(waveform, folder)
    try:
        raw = ["-f", "f32le", "-ar", str(rate), "-ac", str(len(waveform))]
        arguments = [*raw, *input_arguments(path)]
        yield SoundInput(arguments=arguments, filter="anull" + _fit(seconds, rate))
    finally:
        path.unlink(missing_ok=True)


def _raw_file(waveform: np.ndarray, folder: Path) -> Path:
    """The waveform [channels, samples] in a new temporary file of interleaved float32."""
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".omnisync.f32", delete=False) as file:
        try:
            for block in np.array_split(waveform.T, 1 + waveform.shape[1] // 2**20):
                file.write(np.ascontiguousarray(block, dtype="<f4").tobytes())
        except BaseException as error:
            file.close()
            Path(file.name).unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise UserError(
                    f"cannot keep the sound in {folder}: {error.strerror}; free some space there "
                    "or choose another folder"
                ) from error
            raise
    return Path(file.name)


def _checked_waveform(waveform: np.ndarray, rate: int) -> np.ndarray:
    waveform = np.atleast_2d(np.asarray(waveform))
    if waveform.ndim != 2 or not 1 <= len(waveform) <= _MOST_CHANNELS:
        raise UserError(
            f"expected a waveform [channels, samples] of 1 to {_MOST_CHANNELS} channels, got shape "
            f"{list(waveform.shape)}; take one item of the batch, or mix it to stereo"
        )
    if rate < 1:
        raise UserError(f"expected a sample rate in Hz, such as 44100, got {rate}")
    _check_samples(waveform, "the waveform")
    return waveform


def _check_samples(samples: np.ndarray, what: str) -> None:
    if not samples.size:
        raise UserError(f"{what} has no length (0 samples); record or export it again")
    if not np.isfinite(samples).all():
        count = int((~np.isfinite(samples)).sum())
        raise UserError(
            f"{what} holds {count} samples that are not numbers (NaN or infinite); export it "
            "again as 16-bit .wav"
        )


def _look(path: Path) -> tuple[float, int]:
    """When the sound starts, in seconds after the picture's first frame (0 without a picture),
    and its samples per second."""
    sound = ["-map", "0:a:0", "-frames:a", "1", "-af", "ashowinfo", "-f", "null", "-"]
    lines = _run([*input_arguments(path), *sound])
    if not any(is_stream(line, "Audio") for line in lines):
        if not any(is_stream(line, "Video") for line in lines):
            raise opening_error(path, lines)
        raise UserError(
            f"expected a file with sound, but {path} has no sound track; give a .wav, .flac, .mp3, "
            ".m4a or a video with sound"
        )
    picture = any(is_stream(line, "Video", attached=False) for line in lines)
    first = _first_sound(lines)
    if picture:  # both in one run, so that both times are on one clock
        # On a busy machine ffmpeg may end the sound's branch with the picture's, before its first
        # line (2 of some 200 runs under load); a sound that had a frame alone is asked for again.
        for _ in range(5 if first else 1):
            lines = _run([*input_arguments(path), *FIRST_FRAME, *sound])
            if first := _first_sound(lines):
                break
    if first is None:
        raise UserError(f"the sound of {path} has no length (0 samples); export it again")
    rate = int(first[2])
    log = FrameLog()
    for line in lines if picture else []:
        log.read(line)
    if first[1] == "NOPTS" or log.first_time is None:
        return 0.0, rate
    return int(first[1]) / rate - log.first_time, rate


def _first_sound(lines: Sequence[str]) -> re.Match[str] | None:
    return next((match for line in lines if (match := _FIRST_SOUND.search(line))), None)


def _run(arguments: Sequence[str]) -> list[str]:
    lines: list[str] = []
    with Ffmpeg(arguments, on_line=lines.append) as child:
        child.wait()
    return lines


def _from_picture_start(offset: float, rate: int) -> str:
    """Filters that start the sound with the picture and keep it on its time stamps.

    Silence fills the time before a late sound and gaps of more than 0.1 s (swresample's limit; less
    is the rounding of time stamps); a sound that begins before the picture loses that part.
    """
    first = -round(offset * rate)
    return f"asetpts=PTS-STARTPTS,aresample={rate}:async=1:first_pts={first},asetpts=N/SR/TB"


def _fit(seconds: float | None, rate: int) -> str:
    if seconds is None:
        return ""
    count = round(seconds * rate)
    return f",apad=whole_len={count},atrim=end_sample={count}"
