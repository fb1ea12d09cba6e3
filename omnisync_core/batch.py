"""Many clips at once: a manifest of jobs, shared out over worker processes and devices.

A manifest is a CSV file with a header, or JSON Lines; a line is a job: `video`, `audio`, `output`
and any field of SyncOptions. Paths are relative to the manifest. A job whose output exists is
finished; one that was killed goes on from its finished windows (resume.py). A clip gives the same
bytes with any number of workers.
"""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

import torch

from .checkpoint import load_model
from .config import SyncOptions
from .errors import UserError
from .media import check_output
from .model import OmniSync
from .pipeline import sync_video
from .resume import work_folder

_PATHS = ("video", "audio", "output")


@dataclass(frozen=True)
class Job:
    """One clip to dub."""

    video: Path
    audio: Path
    output: Path
    options: SyncOptions


@dataclass(frozen=True)
class Outcome:
    """What became of a job: how many frames were written and edited, or an error in words."""

    job: Job
    frames: int = 0
    edited: int = 0
    error: str = ""


def read_manifest(path: Path) -> list[Job]:
    """The jobs of a manifest. Raises UserError that names line and field where one is wrong."""
    jobs: list[Job] = []
    outputs: dict[Path, int] = {}
    for line, row in manifest_rows(path):
        job = _job(row, path, line)
        if job.output in outputs:
            raise UserError(
                f"{path}, line {line}: output {job.output} is that of line {outputs[job.output]}, "
                "too; rename one."
            )
        outputs[job.output] = line
        jobs.append(job)
    if not jobs:
        raise UserError(f"The manifest {path} holds no job; write a line for each clip.")
    return jobs


def manifest_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, fields) of every line of CSV or JSON Lines; UserError where it is neither."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"The manifest {path} cannot be read ({error}); write it anew.") from None
    if path.suffix.lower() == ".csv":
        reader = csv.DictReader(text.splitlines())
        for row in reader:
            if None in row or None in row.values():
                raise UserError(
                    f"{path}, line {reader.line_num}: expected {len(reader.fieldnames or ())} "
                    "fields as in the header; quote a field that holds a comma."
                )
            yield reader.line_num, {k: v for k, v in row.items() if v != ""}
        return
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f"{path}, line {number} is not JSON: {error}.") from None
        if not isinstance(row, dict):
            raise UserError(f"{path}, line {number}: expected an object, got {line.strip()[:40]}.")
        yield number, row


def _job(row: dict[str, Any], path: Path, line: int) -> Job:
    hints = get_type_hints(SyncOptions)
    options = {}
    for name, value in row.items():
        if name in _PATHS:
            continue
        if name not in hints:
            known = ", ".join((*_PATHS, *hints))
            raise UserError(f"{path}, line {line}: there is no field {name!r}; there are {known}.")
        options[name] = _value(value, hints[name], f"{path}, line {line}: {name}")
    if str(options.get("region", "")).endswith(".json"):
        options["region"] = str(path.parent / options["region"])
    if missing := [name for name in _PATHS if not row.get(name)]:
        raise UserError(f"{path}, line {line}: {' and '.join(missing)} missing.")
    video, audio, output = (path.parent / str(row[name]) for name in _PATHS)
    try:
        for file in (video, audio):
            if not file.is_file():
                raise UserError(f"there is no file {file}")
        check_output(output, inputs=[video, audio])
        return Job(video, audio, output, SyncOptions(**options))
    except UserError as error:
        raise UserError(f"{path}, line {line}: {error}") from None


def _value(value: Any, kind: Any, where: str) -> Any:
    """A manifest's value as the option's type; CSV knows words only."""
    if kind is bool:
        words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        if str(value).lower() not in words:
            raise UserError(f"{where} must be true or false; got {value!r}.")
        return words[str(value).lower()]
    if kind in (int, float):
        try:
            return kind(value)
        except (TypeError, ValueError):
            raise UserError(f"{where} must be a number; got {value!r}.") from None
    return str(value)


_model: OmniSync  # of a worker process, loaded once


def _start_worker(model: str, dtype: torch.dtype, devices: Any, threads: int) -> None:
    global _model
    torch.set_num_threads(threads)
    _model = load_model(model, device=torch.device(devices.get()), dtype=dtype)


def _run(job: Job) -> Outcome:
    return run_job(_model, job)


def run_job(model: OmniSync, job: Job) -> Outcome:
    """One clip, going on from its finished windows; what the user can mend is its outcome."""
    try:
        summary = sync_video(
            model,
            job.video,
            job.audio,
            job.output,
            options=job.options,
            work=work_folder(job.output),
        )
    except UserError as error:
        return Outcome(job, error=str(error))
    return Outcome(job, summary.frames, summary.edited)


def run_batch(
    jobs: Sequence[Job],
    *,
    model: str = "mini",
    devices: Sequence[str] = ("cpu",),
    workers: int | None = None,
    dtype: torch.dtype = torch.float32,
    cluster: str = "",
) -> Iterator[Outcome]:
    """Run the jobs whose output does not exist yet; yields what became of each, as they end.

    workers: processes, sharing the devices in turn; default one for each device. cluster: "ray"
    for workers anywhere in a Ray cluster (cluster.py), "" for this machine. A job that fails does
    not stop the others; a worker that dies (out of memory) raises UserError, and what is finished
    stays finished.
    """
    load_model(model)  # an unknown model is one error here, not one in every worker
    workers = workers or len(devices)
    threads = max(1, (os.cpu_count() or 1) // workers)
    todo = [job for job in jobs if not job.output.exists()]
    if cluster == "ray":
        from .cluster import run_on_ray

        yield from run_on_ray(
            todo, model=model, devices=devices, workers=workers, dtype=dtype, threads=threads
        )
        return
    context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
    queue = context.Queue()
    for i in range(workers):
        queue.put(devices[i % len(devices)])
    with ProcessPoolExecutor(
        workers, context, initializer=_start_worker, initargs=(model, dtype, queue, threads)
    ) as pool:
        running = [pool.submit(_run, job) for job in todo]
        try:
            for future in as_completed(running):
                yield future.result()
        except RuntimeError as error:  # BrokenProcessPool
            raise UserError(
                f"A worker ended before its time ({error}); run the same command again with fewer "
                "workers: finished clips are kept."
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
