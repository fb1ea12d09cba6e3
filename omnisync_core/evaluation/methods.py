"""What is judged: a method makes a result of a source and a voice.

`omnisync` is the model of the package in a process of its own; `command:...` any outside program;
`folder:DIR` results that are there already; `copy`, `truth`, `wrong-audio` the rows by which all
others are read. A method gets copies of source.mp4 and voice.wav in an empty folder, never the
truth, and a time limit; when it fails, the reason is a UserError.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from ..errors import UserError

BASELINES = {"copy": "source", "truth": "truth", "wrong-audio": "other"}
"""Row -> the video of the clip's folder that it shows."""
_PLACES = ("{video}", "{voice}", "{output}")


@dataclass(frozen=True)
class Method:
    """One row of the tables."""

    label: str
    """As the user wrote it."""
    produce: Callable[[Path, Path], None]
    """(clip's folder, result to write); raises UserError where it fails."""
    timed: bool = True
    stop: Callable[[], None] = lambda: None

    @property
    def folder(self) -> str:
        """A file name for the label."""
        plain = re.sub(r"[^A-Za-z0-9.-]+", "_", self.label)[:40].strip("_.") or "method"
        changed = plain != self.label
        return f"{plain}-{zlib.crc32(self.label.encode()):08x}" if changed else plain


def parse_method(text: str, *, model: str = "mini", timeout: float = 600) -> Method:
    """A method from what the user wrote. Raises UserError for anything unknown or incomplete."""
    kind, _, rest = text.partition(":")
    if text in BASELINES:
        return Method(text, _shown(BASELINES[text]), timed=False)
    if text == "omnisync":
        worker = Worker(model, timeout)
        return Method(_ours(model), worker.produce, stop=worker.stop)
    if kind == "command" and rest.strip():
        missing = [place for place in _PLACES if place not in rest]
        if missing:
            raise UserError(
                f"The command lacks {' and '.join(missing)}; write for example "
                '--method command:"python lips.py {video} {voice} {output}".'
            )
        return Method(text, lambda item, out: _run(rest, item, out, timeout))
    if kind == "folder" and rest:
        folder = Path(rest)
        if not folder.is_dir():
            raise UserError(f"--method {text}: there is no folder {folder}; name one of results.")
        return Method(text, lambda item, out: _from_folder(folder, item, out), timed=False)
    raise UserError(
        f'--method must be omnisync, {", ".join(BASELINES)}, command:"..." or folder:DIR; '
        f"got {text!r}."
    )


def _ours(model: str) -> str:
    """`omnisync` and which weights: results of other weights are other results."""
    from ..checkpoint import EMBEDDED, weights_path

    path = weights_path(model) if model in EMBEDDED else Path(model)
    try:
        mark = zlib.crc32(path.read_bytes())
    except OSError as error:
        raise UserError(f"The weights {path} cannot be read ({error}); see --model.") from None
    return f"omnisync {path.stem} {mark:08x}"


def _shown(name: str) -> Callable[[Path, Path], None]:
    def produce(item: Path, out: Path) -> None:
        video = item / f"{name}.mp4"
        if not video.exists():
            raise UserError("not known for this clip")
        shutil.copyfile(video, out)

    return produce


def _from_folder(folder: Path, item: Path, out: Path) -> None:
    for kind in (".mp4", ".mkv", ".mov"):
        if (video := folder / f"{item.name}{kind}").exists():
            shutil.copyfile(video, out)
            return
    raise UserError(f"there is no {item.name}.mp4 (.mkv, .mov) in {folder}")


def _staged(item: Path, room: Path) -> tuple[Path, Path, Path]:
    """Copies of source and voice in an empty folder, and where the result goes."""
    video, voice = room / "source.mp4", room / "voice.wav"
    shutil.copyfile(item / "source.mp4", video)
    shutil.copyfile(item / "voice.wav", voice)
    return video, voice, room / "result.mp4"


def _run(template: str, item: Path, out: Path, timeout: float) -> None:
    with tempfile.TemporaryDirectory(prefix="bench") as name:
        video, voice, result = _staged(item, Path(name))
        places = dict(zip(_PLACES, map(str, (video, voice, result)), strict=True))
        words = shlex.split(template)
        for place, path in places.items():
            words = [word.replace(place, path) for word in words]
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise UserError(f"the command cannot be started: {error}") from None
        try:
            said, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            raise UserError(f"took more than {timeout:g} s and was ended") from None
        finally:
            _end(process)
        words_left = said.decode(errors="replace").strip().splitlines()[-1:] or ["no word"]
        if process.returncode:
            raise UserError(f"ended with code {process.returncode}: {words_left[0][:200]}")
        if not result.exists():
            raise UserError(f"wrote no {{output}} (it said: {words_left[0][:200]})")
        shutil.move(str(result), out)


def _end(process: subprocess.Popen) -> None:
    """End a command and all that it started."""
    if hasattr(os, "killpg"):
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
    else:
        process.kill()
    process.wait()


class Worker:
    """Our model in a process of its own, loaded once; ended and begun anew after a hang."""

    def __init__(self, model: str, timeout: float) -> None:
        self.model, self.timeout = model, timeout
        self.process: BaseProcess | None = None
        self.line: Connection | None = None

    def produce(self, item: Path, out: Path) -> None:
        """The result of one clip."""
        if self.process is None or not self.process.is_alive():
            self._start()
        assert self.line is not None
        with tempfile.TemporaryDirectory(prefix="bench") as name:
            video, voice, result = _staged(item, Path(name))
            try:
                self.line.send((video, voice, result))
                answered = self.line.poll(self.timeout)
                error = self.line.recv() if answered else f"took more than {self.timeout:g} s"
            except (EOFError, OSError):
                error = "the model's process ended before its time"
            if error:
                self.stop()
                raise UserError(error)
            shutil.move(str(result), out)

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.line, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, self.model), daemon=True)
        self.process.start()
        theirs.close()
        # Loading is no part of a clip's time.
        try:
            error = self.line.recv() if self.line.poll(self.timeout) else "the model did not load"
        except EOFError:
            error = "the model did not load"
        if error:
            self.stop()
            raise UserError(error)

    def stop(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.process = None


def _serve(line: Connection, name: str) -> None:
    """The worker: gets (video, voice, result), answers with an error in words or none."""
    from ..checkpoint import load_model
    from ..pipeline import sync_video

    try:
        model = load_model(name)
    except UserError as error:
        line.send(str(error))
        return
    line.send("")
    while True:
        try:
            video, voice, result = line.recv()
        except EOFError:
            return
        try:
            sync_video(model, video, voice, result)
            line.send("")
        except Exception as error:  # whatever it is, it is this clip's failure
            line.send(f"{type(error).__name__}: {error}")
