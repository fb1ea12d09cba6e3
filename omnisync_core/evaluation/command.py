"""`omnisync bench` and `omnisync report`: arguments and what they start."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import UserError

TRACK_NAMES = (
    *("general", "occlusion", "style", "long", "multilingual", "low-quality", "silence", "snr"),
)
_COMMON = (
    *("truth_r", "sound_r", "ose_c", "closures", "false_closures", "visemes", "lmd", "leak"),
    *("ssim", "texture", "likeness", "lost", "mcs", "fps"),
)


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Add both to the command line."""
    bench = commands.add_parser(
        "bench",
        help="judge lip sync: this model, or any other tool, on eight tracks (extra `bench`)",
        epilog="The rows copy, truth, wrong-audio and omnisync are always there. The same command "
        "goes on where it stopped. docs/benchmark.md has the protocol.",
    )
    bench.add_argument(
        "--method",
        action="append",
        default=[],
        metavar="METHOD",
        help='omnisync, command:"tool {video} {voice} {output}" or folder:DIR; repeatable',
    )
    bench.add_argument("-o", "--output", type=Path, required=True, help="folder of the run")
    bench.add_argument(
        "--size", choices=("small", "full"), default="small", help="of the built-in set (small)"
    )
    bench.add_argument(
        "--tracks", default="", help=f"with commas, some of: {', '.join(TRACK_NAMES)} (all)"
    )
    bench.add_argument("--seed", type=int, default=0, help="another built-in set (default 0)")
    bench.add_argument(
        "--clips",
        type=Path,
        help="your clips instead: a manifest, or a folder as VoxCeleb2, HDTF, MEAD, or videos/ "
        "with voices/",
    )
    bench.add_argument(
        "--seconds", type=float, default=8, help="of each clip of yours that are used (default 8)"
    )
    bench.add_argument(
        "--timeout", type=float, default=600, help="seconds a method has for one clip (600)"
    )
    bench.add_argument("--model", default="mini", help="weights of the omnisync row")
    bench.add_argument("--syncnet", type=Path, help="SyncNet weights of yours, for LSE-C and LSE-D")
    bench.add_argument(
        "--embedder", default="locator", help="TorchScript face embedder of yours, for identity"
    )
    bench.add_argument("--fid", type=Path, help="TorchScript picture backbone, for FID and KID")
    bench.add_argument("--fvd", type=Path, help="TorchScript video backbone, for FVD")
    report = commands.add_parser(
        "report", help="one HTML page and plots of what `omnisync bench` found"
    )
    report.add_argument("run", type=Path, help="folder of a bench run")
    report.add_argument("-o", "--output", type=Path, help="page to write (RUN/report.html)")
    order = commands.add_parser(
        "bench-order", help="do the figures order known damage? (table of degradations)"
    )
    order.add_argument("run", type=Path, help="folder of a bench run whose truth videos are used")


def run_command(arguments: argparse.Namespace) -> int:
    """Run one of the three; returns the exit code."""
    try:
        if arguments.command == "bench":
            return _bench(arguments)
        if arguments.command == "report":
            from .report import write_report

            page = write_report(arguments.run, arguments.output or arguments.run / "report.html")
            sys.stdout.write(f"{page}\n")
            return 0
        from .ordering import ordering_table

        sys.stdout.write(ordering_table(arguments.run, workers=_workers()))
    except ModuleNotFoundError as error:
        raise UserError(
            f"The benchmark needs the package {error.name}; in the clone of OmniSync run "
            'pip install ".[bench]".'
        ) from None
    return 0


def _bench(arguments: argparse.Namespace) -> int:
    from ..checkpoint import load_model
    from .bench import run_bench
    from .judging import Means
    from .likeness import load_backbone
    from .methods import BASELINES, parse_method
    from .syncnet import load_syncnet
    from .tables import markdown

    if not arguments.timeout > 0 or not arguments.seconds >= 1:
        raise UserError("--timeout must be above 0 and --seconds at least 1.")
    means = Means(arguments.syncnet, arguments.embedder, arguments.fid, arguments.fvd)
    if means.syncnet is not None:  # a wrong file is one error now, not a failure of every clip
        load_syncnet(means.syncnet)
    if means.embedder != "locator":
        from ..training.embedder import load_embedder

        load_embedder(means.embedder)
    for path in (means.fid, means.fvd):
        if path is not None:
            load_backbone(path)
    load_model(arguments.model)
    wanted = dict.fromkeys([*BASELINES, *arguments.method, "omnisync"])
    options = {"model": arguments.model, "timeout": arguments.timeout}
    methods = [parse_method(text, **options) for text in wanted]
    started, unusable = time.monotonic(), []
    folders = _folders(arguments, unusable)
    # Clips of the user's and long ones fill the memory: one at a time.
    workers = _workers() if arguments.clips is None and arguments.size == "small" else 1
    rows = run_bench(folders, methods, arguments.output, means=means, workers=workers, say=_say)
    spent = time.monotonic() - started
    text = _facts(rows, methods[-1].label, spent) + markdown(rows, arguments.output, _COMMON)
    (arguments.output / "table.md").write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    failed = sum(row["status"] == "failed" for row in rows)
    clips = len({row["name"] for row in rows})
    sys.stdout.write(
        f"\n{clips} clips, {failed} failures, {len(unusable)} clips that could not be used, "
        f"{spent:.0f} s; next: omnisync report {arguments.output}\n"
    )
    for why in unusable:
        sys.stdout.write(f"not used: {why}\n")
    return 1 if failed or unusable else 0


def _facts(rows: Sequence[dict], ours: str, seconds: float) -> str:
    """What a reader of the tables must know: the command, clips, time and machine."""
    command = shlex.join(["omnisync", *sys.argv[1:]])
    clips = len({row["name"] for row in rows})
    frames = sum(row.get("frames", 0) for row in rows if row["method"] == ours)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"`{command}`: {clips} clips, {frames} frames, {seconds / 60:.1f} minutes for what this "
        f"call had to do, rendering and judging included, on {cores} cores.\n\n"
    )


def _folders(arguments: argparse.Namespace, unusable: list[str]) -> Iterator[Path]:
    """Folders of the clips that can be judged, as they get ready."""
    from .built_in import make_all, plans
    from .own_clips import prepare_entries, read_entries

    place = arguments.output / "items"
    place.mkdir(parents=True, exist_ok=True)
    tracks = [t for t in arguments.tracks.split(",") if t] or list(TRACK_NAMES)
    if unknown := [t for t in tracks if t not in TRACK_NAMES]:
        raise UserError(
            f"--tracks: there is no {unknown[0]!r}; there are {', '.join(TRACK_NAMES)}."
        )
    if arguments.clips is None:
        wanted = plans(arguments.size, tracks=tracks, seed=arguments.seed)
        for number, folder in enumerate(make_all(wanted, place, workers=_workers()), 1):
            _say(f"{number} of {len(wanted)} {folder.name}: rendered")
            yield folder
        return
    entries = [e for e in read_entries(arguments.clips) if e.track in tracks]
    for folder, why in prepare_entries(entries, place, seconds=arguments.seconds):
        if why:
            unusable.append(why)
            _say(f"not used: {why}")
        else:
            yield folder


def _workers() -> int:
    return min(os.cpu_count() or 1, 8)


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
