"""The command line: `omnisync sync VIDEO AUDIO -o OUT`; `demo`, `batch`, `prepare`, `train`.

Bad input ends with one sentence and exit code 2, Ctrl-C with exit code 130; neither leaves half a
file.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TextIO, get_args, get_type_hints

from . import __version__
from .config import SyncOptions
from .errors import UserError
from .evaluation.command import add_commands, run_command

_DEMO_FOLDER = "omnisync_demo"
# Which letters a field of SyncOptions is set by; the help text is the field's own docstring.
_CHOSEN = (
    ("steps", "sampling steps, 1 to 1000"),
    ("seed", "the same seed gives the same result"),
    ("tau", "where sampling starts: 0 returns the source, 1 is plain noise"),
    ("spatial_scale", "strength of guidance on the place of the mouth"),
    ("temporal_scale", "strength of guidance on the timing of the voice"),
    ("profile", "guidance schedule"),
    ("solver", "heun is more exact and takes twice the time per step"),
    ("churn", "noise injected again by phase; 0 is deterministic"),
    ("region", "auto, full, x,y,w,h in pixels, or a JSON file with one box per frame"),
    ("speaker", "whose mouth auto follows: auto, left, right, largest, or x,y in pixels"),
    ("occlusion", "auto keeps what covers the mouth in front of the edit; off does not look"),
    ("texture", "own: lips and teeth of the same shot; drawn: as the network drew them"),
    ("length", "when voice and video differ in length (see `omnisync sync --help` end)"),
    ("window", "frames that the network sees at once"),
    ("overlap", "frames that neighbouring windows share"),
    ("flow", "optical flow: auto, lucas_kanade, or a file of FlowNet3D weights"),
    ("keyframe_interval", "every how many frames a source keyframe anchors the face; 0 is never"),
    ("identity_floor", "likeness to the keyframe below which a window is edited again, 0 to 1"),
    ("replay", "frames of past windows that the network remembers; 0 is none"),
)
_LENGTHS = """lengths:
  silence  keep the video's length: silence after a shorter voice, a longer one is cut (default)
  cut      end both where the shorter one ends
  loop     a longer voice: start the video again
  bounce   a longer voice: play the video backwards, then forwards, and so on
  freeze   a longer voice: hold the last frame"""


class ProgressBar:
    """One line on a terminal: stage, frames done, time left; silent when not on a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self.stream, self.shown = stream, stream.isatty()
        self.stage, self.started, self.last = "", 0.0, 0.0

    def __call__(self, progress: Any) -> None:
        now = time.monotonic()
        if progress.stage != self.stage:
            self.stage, self.started, self.last = progress.stage, now, 0.0
        finished = progress.done >= progress.total
        if not self.shown or (now - self.last < 0.1 and not finished):
            return
        self.last = now
        share = min(1.0, progress.done / max(progress.total, 1))
        left = (now - self.started) * (1 - share) / share if share > 0 else 0.0
        bar = "#" * round(30 * share)
        words = {"locate": "finding the mouth", "edit": "moving the lips"}[progress.stage]
        self.stream.write(
            f"\r{words:<18}[{bar:<30}] {int(progress.done)}/{progress.total} frames, "
            f"{int(left) // 60}:{int(left) % 60:02d} left "
        )
        if finished:
            self.stream.write("\n")
        self.stream.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="omnisync", description="Make any video speak a new voice: matching lips, no mask."
    )
    parser.add_argument("--version", action="version", version=f"omnisync {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    sync = commands.add_parser(
        "sync",
        help="video + voice -> the same video with matching lips",
        epilog=_LENGTHS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sync.add_argument("video", type=Path, help="any video file")
    sync.add_argument("audio", type=Path, help="wav, flac, mp3, m4a ..., or a video with sound")
    sync.add_argument(
        "-o", "--output", type=Path, required=True, help=".mp4, .mov or .mkv to write"
    )
    sync.add_argument("--lossless", action="store_true", help="FFV1 in .mkv, lossless x264 in .mp4")
    sync.add_argument(
        "--compare", type=Path, metavar="FILE", help="also write source and result side by side"
    )
    sync.add_argument(
        "--sound", type=Path, metavar="FILE", help="what the output plays instead of the voice"
    )
    sync.add_argument(
        "--other",
        nargs=2,
        action="append",
        default=[],
        metavar=("SPEAKER", "VOICE"),
        help="another person in the picture (as --speaker names them) and their voice; repeatable",
    )
    sync.add_argument(
        "--resume",
        action="store_true",
        help="keep finished windows beside the output; after a stop or a kill, the same command "
        "goes on from them",
    )
    demo = commands.add_parser("demo", help="run the clip that comes with the package")
    demo.add_argument(
        "-o", "--output", type=Path, default=Path(_DEMO_FOLDER), help="folder for the result"
    )
    batch = commands.add_parser(
        "batch",
        help="many clips: a manifest of videos, voices and outputs",
        epilog="An interrupted batch goes on with the same command.",
    )
    batch.add_argument(
        "manifest",
        type=Path,
        help="CSV with a header, or JSON Lines: video, audio, output, and any option of sync",
    )
    batch.add_argument("--workers", type=int, help="processes (default: one for each device)")
    batch.add_argument(
        "--cluster", choices=("ray",), default="", help="spread them over a cluster (extra cluster)"
    )
    hints, defaults = get_type_hints(SyncOptions), {f.name: f.default for f in fields(SyncOptions)}
    for name, text in _CHOSEN:
        sync.add_argument(
            "--" + name.replace("_", "-"),
            type=hints[name] if isinstance(hints[name], type) else str,
            choices=get_args(hints[name]) or None,
            default=defaults[name],
            help=f"{text} (default {defaults[name]})",
        )
    for command in (sync, demo, batch):
        command.add_argument(
            "--model", default="mini", help="embedded model or .safetensors file (default mini)"
        )
        several = "; several with commas" if command is batch else ""
        command.add_argument(
            "--device", default="auto", help=f"auto, cpu, cuda, mps ...{several} (auto)"
        )
        command.add_argument(
            "--dtype", choices=("float32", "bfloat16", "float16"), default="float32"
        )
    prepare = commands.add_parser(
        "prepare",
        help="make training data of talking videos, pictures or a rigged head (extra `train`)",
        epilog="Your files stay as they are. Train only on what you have the rights for.",
    )
    prepare.add_argument(
        "source",
        nargs="?",
        type=Path,
        help="folder of videos and pictures (LRS2, VoxCeleb2, CelebA-HQ ... as they come), corpus "
        "folder with landmarks.npz, or facekit.npz to render; none: only hear with a new voice",
    )
    prepare.add_argument("--voice", type=Path, required=True, help="voice.safetensors of training")
    prepare.add_argument("-o", "--output", type=Path, required=True, help="training folder")
    prepare.add_argument("--model", default="mini", help="preset to be trained (default mini)")
    prepare.add_argument("--seed", type=int, default=1, help="of rendered pairs (default 1)")
    prepare.add_argument("--clips", type=int, default=500, help="clips to render (default 500)")
    prepare.add_argument(
        "--bootstrap",
        metavar="MODEL",
        help="also dub every real take with these weights (mini, or a file), so that training has "
        "sources that differ from the real picture in the lips alone",
    )
    train = commands.add_parser(
        "train",
        help="train a model on prepared data (needs the extra `train`)",
        epilog="Many processes: torchrun --nproc-per-node N -m omnisync_core.cli train ...",
    )
    train.add_argument(
        "recipe", nargs="?", help="a TOML file, or the name of one that ships: small, paper, seed"
    )
    train.add_argument("--data", type=Path, help="training folder (see CONTRIBUTING.md)")
    train.add_argument("--voice", type=Path, help="voice.safetensors of the voice trainer")
    train.add_argument("--weights", type=Path, help="weights to begin with")
    train.add_argument(
        "--embedder",
        help="face embedder of an identity loss: a TorchScript file, or locator for the likeness "
        "that ships",
    )
    train.add_argument("-o", "--output", type=Path, required=True, help="folder of the run")
    train.add_argument("--plot", action="store_true", help="only draw the curves of that folder")
    add_commands(commands)
    return parser


def _device(name: str):
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
        if torch.backends.mps.is_available():
            name = "mps"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(
            f"The device {name!r} cannot be used here ({str(error).splitlines()[0]}); "
            "leave --device out or write --device cpu."
        ) from None
    return device


def _load(arguments: argparse.Namespace):
    import torch

    from .checkpoint import load_model

    dtype = getattr(torch, arguments.dtype)
    return load_model(arguments.model, device=_device(arguments.device), dtype=dtype)


def _sync(arguments: argparse.Namespace) -> None:
    from .pipeline import sync_video
    from .resume import work_folder

    chosen = {name: getattr(arguments, name) for name, _ in _CHOSEN}
    options = SyncOptions(**chosen, lossless=arguments.lossless)
    model, started = _load(arguments), time.monotonic()
    summary = sync_video(
        model,
        arguments.video,
        arguments.audio,
        arguments.output,
        options=options,
        callback=ProgressBar(sys.stderr),
        sound=arguments.sound,
        others=arguments.other,
        compare=arguments.compare,
        work=work_folder(arguments.output) if arguments.resume else None,
    )
    passed = summary.frames - summary.edited
    text = f"{arguments.output}: {summary.frames} frames, {summary.edited} edited"
    if passed:
        text += f", {passed} without a visible mouth passed through unchanged"
    if summary.damaged:
        text += ", in a video that is damaged in places (frames there are missing or patched up)"
    sys.stdout.write(f"{text} ({time.monotonic() - started:.1f} s)\n")


def _demo(arguments: argparse.Namespace) -> None:
    folder = Path(__file__).parent / "demo"
    try:
        arguments.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"The folder {arguments.output} cannot be made ({error.strerror}); "
            "name another with -o."
        ) from None
    for name, _ in _CHOSEN:
        setattr(arguments, name, getattr(SyncOptions(), name))
    arguments.video, arguments.audio = folder / "character.mp4", folder / "voice.wav"
    arguments.compare = arguments.output / "compare.mp4"
    arguments.lossless = arguments.resume = False
    arguments.sound, arguments.other = None, []
    arguments.output = arguments.output / "result.mp4"
    _sync(arguments)
    sys.stdout.write(f"Side by side with the source: {arguments.compare}\n")


def _batch(arguments: argparse.Namespace) -> int:
    import torch

    from .batch import read_manifest, run_batch

    if arguments.workers is not None and arguments.workers < 1:
        raise UserError(f"--workers must be at least 1; got {arguments.workers}.")
    jobs = read_manifest(arguments.manifest)
    ready = sum(job.output.exists() for job in jobs)
    if ready:
        sys.stdout.write(f"{ready} of {len(jobs)} outputs exist already and are kept\n")
    outcomes = run_batch(
        jobs,
        model=arguments.model,
        devices=[str(_device(name)) for name in arguments.device.split(",")],
        workers=arguments.workers,
        dtype=getattr(torch, arguments.dtype),
        cluster=arguments.cluster,
    )
    failed = 0
    for done, outcome in enumerate(outcomes, ready + 1):
        words = f"{outcome.frames} frames, {outcome.edited} edited"
        if outcome.error:
            failed, words = failed + 1, f"failed: {outcome.error}"
        sys.stdout.write(f"{done}/{len(jobs)} {outcome.job.output}: {words}\n")
        sys.stdout.flush()
    return 1 if failed else 0


def _prepare(arguments: argparse.Namespace) -> None:
    try:
        from .checkpoint import load_model
        from .training.prepare import prepare
    except ModuleNotFoundError as error:
        raise _training_extra(error) from None
    kept, dropped = 0, Counter()
    for verdict in prepare(
        arguments.source,
        arguments.output,
        arguments.voice,
        model=arguments.model,
        seed=arguments.seed,
        clips=arguments.clips,
        dub=load_model(arguments.bootstrap) if arguments.bootstrap else None,
    ):
        kept += verdict.kept
        if not verdict.kept:
            dropped[verdict.why.split(" (")[0]] += 1
        word = "kept" if verdict.kept else "dropped"
        sys.stdout.write(f"{verdict.name}: {word}: {verdict.why}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{arguments.output}: {kept} kept, {dropped.total()} dropped\n")
    for why, times in dropped.most_common():
        sys.stdout.write(f"  {times} dropped: {why}\n")


def _training_extra(error: ModuleNotFoundError) -> UserError:
    return UserError(
        f"Training needs the package {error.name}; in the clone of OmniSync run "
        'pip install ".[train]".'
    )


def _train(arguments: argparse.Namespace) -> None:
    try:
        from .training.plot import plot_run
        from .training.recipe import read_recipe, run_recipe
    except ModuleNotFoundError as error:
        raise _training_extra(error) from None
    if arguments.plot:
        sys.stdout.write(f"{plot_run(arguments.output)}\n")
        return
    if missing := [n for n in ("recipe", "data", "voice") if not getattr(arguments, n)]:
        raise UserError(f"Training needs {' and '.join(missing)}; see `omnisync train --help`.")
    weights = run_recipe(
        read_recipe(arguments.recipe),
        arguments.data,
        arguments.voice,
        arguments.output,
        weights=arguments.weights,
        embedder=arguments.embedder,
    )
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        # Else a process may be aborted while another one still ends.
        distributed.destroy_process_group()
    sys.stdout.write(f"{weights}: try it with `omnisync sync ... --model {weights}`\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        commands = {"sync": _sync, "demo": _demo, "batch": _batch}
        commands |= {"prepare": _prepare, "train": _train}
        commands |= dict.fromkeys(("bench", "report", "bench-order"), run_command)
        return commands[arguments.command](arguments) or 0
    except UserError as error:
        sys.stderr.write(f"omnisync: {error}\n")
        return 2
    except KeyboardInterrupt:
        words = "no file was left half-written"
        if getattr(arguments, "resume", arguments.command == "batch"):
            words = "finished windows are kept; the same command goes on from them"
        sys.stderr.write(f"\nomnisync: stopped; {words}\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
