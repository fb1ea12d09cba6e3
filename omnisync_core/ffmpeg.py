"""The ffmpeg child process: every media file goes in and out through imageio-ffmpeg's program.

In: command-line arguments. Out: a running child that never outlives its block, its log, and its
failures turned into a sentence for the user. There is no ffprobe in that package; what a file
holds is read from ffmpeg's own log (checked with ffmpeg 7.0 and 9.0).
"""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, cast

import imageio_ffmpeg

from .errors import UserError

# Lines that only say that something failed, never what: they follow the line that does.
_EMPTY_WORDS = (
    "Conversion failed",
    "Error muxing a packet",
    "Terminating thread",
    "Task finished",
    "Nothing was written",
    "Last message repeated",
)
# What the demuxers say when a file stops before its own header promised (mov, matroska, the rest).
_CUT_OFF_WORDS = ("partial file", "ended prematurely", "Error during demuxing")


def ffmpeg_path() -> str:
    """Where the ffmpeg program lies; UserError when the package came without one."""
    try:
        return imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise UserError(
            "expected the ffmpeg program that imageio-ffmpeg brings, found none; run "
            "'pip install --force-reinstall imageio-ffmpeg' or set IMAGEIO_FFMPEG_EXE to an ffmpeg"
        ) from error


def input_arguments(path: Path) -> list[str]:
    """Arguments that open a file as the file it is.

    The prefix keeps a name such as `a:b.mp4` or `-x.mp4` from being read as a protocol or an
    option; the whitelist keeps playlists from opening connections.
    """
    return ["-protocol_whitelist", "file,pipe", "-i", f"file:{path}"]


def readable_file(path: str | Path) -> Path:
    """`path` as a Path; UserError unless it is a file that can be opened and holds something."""
    path = Path(path)
    if path.is_dir():
        raise UserError(f"expected a media file, got the folder {path}; name the file itself")
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except FileNotFoundError as error:
        raise UserError(f"there is no file {path}; check the spelling and the folder") from error
    except OSError as error:
        raise UserError(
            f"cannot read {path}: {error.strerror}; check the file's permissions"
        ) from error
    if empty:
        raise UserError(f"expected a media file, but {path} is empty (0 bytes); copy it again")
    return path


class Ffmpeg:
    """A running ffmpeg; leaving its block kills it if it still runs, so Ctrl-C leaves no orphan.

    `feed` opens its standard input. `on_line` sees each line of its log as it comes, from another
    thread; the last lines are kept for the error message anyway.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        feed: bool = False,
        on_line: Callable[[str], Any] | None = None,
    ) -> None:
        self._last: deque[str] = deque(maxlen=50)
        self._on_line = on_line or (lambda line: None)
        self._child = subprocess.Popen(
            [
                ffmpeg_path(),
                "-hide_banner",
                "-nostats",
                *([] if feed else ["-nostdin"]),
                *arguments,
            ],
            stdin=subprocess.PIPE if feed else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            **_own_group(),
        )
        self.stdin, self.stdout = self._child.stdin, cast(IO[bytes], self._child.stdout)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        for raw in cast(IO[bytes], self._child.stderr):
            line = raw.decode("utf-8", "replace").rstrip()
            self._last.append(line)
            self._on_line(line)

    def read_into(self, buffer: memoryview) -> int:
        """Fill `buffer` from standard output; fewer bytes only at the end of the stream."""
        filled = 0
        while filled < len(buffer):
            count = cast(Any, self.stdout).readinto(buffer[filled:])
            if not count:
                break
            filled += count
        return filled

    def feed(self, data: bytes | memoryview) -> None:
        """Write all of `data` to standard input; OSError when the child no longer reads."""
        view = memoryview(data)
        while view:
            view = view[cast(Any, self.stdin).write(view) :]

    def close_feed(self) -> None:
        """Tell the child that nothing more comes."""
        cast(Any, self.stdin).close()

    def wait(self) -> int:
        """Wait for the child and the end of its log; returns its exit status."""
        status = self._child.wait()
        self._listener.join()
        return status

    def last_words(self) -> str:
        """Why the child ended: the first complaints of its log, without ffmpeg's own addresses."""
        lines = [re.sub(r"^(\[[^\]]*\] *)+", "", line).strip() for line in self._last]
        telling = [line for line in lines if line and not line.startswith(_EMPTY_WORDS)]
        if not telling:
            return f"it ended with status {self._child.poll()} and without a word"
        return "; ".join(dict.fromkeys(telling[:2]))

    def __enter__(self) -> Ffmpeg:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    def kill(self) -> None:
        """End the child now, whatever it is doing, and close its pipes; harmless when it ended."""
        self._child.kill()
        self.wait()
        for pipe in (self.stdin, self.stdout, self._child.stderr):
            try:
                if pipe:
                    pipe.close()
            except OSError:  # flushing into a pipe whose reader is dead
                pass


def _own_group() -> dict[str, Any]:
    """Ctrl-C in the terminal must reach us alone: we end the child, and then clean up."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    return {"start_new_session": True}


def is_cut_off(line: str) -> bool:
    """Whether a line of the log says that the file ends too early."""
    return any(word in line for word in _CUT_OFF_WORDS)


def is_stream(line: str, kind: str, *, attached: bool = True) -> bool:
    """Whether a line of the log announces a "Video" or "Audio" stream of the (first) input."""
    found = re.match(rf"\s*Stream #0:\d+.*?: {kind}: ", line) is not None
    return found and (attached or "(attached pic)" not in line)


def opening_error(path: Path, log: Sequence[str]) -> UserError:
    """What to tell the user when ffmpeg could not open `path` (its log says why)."""
    text = "\n".join(log)
    if "moov atom not found" in text:
        return UserError(
            f"{path} is cut off or was never finished: its index (moov) is missing; copy or "
            "download it again, or export it once more"
        )
    if "Permission denied" in text:
        return UserError(f"cannot read {path}: permission denied; check the file's permissions")
    return UserError(
        f"expected a video or audio file, but ffmpeg cannot make sense of {path}; open it in a "
        "player to check it, or export it as .mp4 (picture) or .wav (sound)"
    )
