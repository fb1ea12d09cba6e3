"""The workers of a batch on a Ray cluster (extra `cluster`): many machines instead of one.

The manifest's paths and the model must mean the same files on every machine (a shared folder), and
OmniSync be installed there. RAY_ADDRESS, as Ray itself has it, names the cluster; without it Ray
runs on this machine alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from .batch import Job, Outcome, run_job
from .checkpoint import load_model
from .errors import UserError


class _Worker:
    """A process somewhere in the cluster that holds the model; Ray makes an actor of it."""

    def __init__(self, model: str, device: str, dtype: torch.dtype, threads: int) -> None:
        torch.set_num_threads(threads)
        self._model = load_model(model, device=torch.device(device), dtype=dtype)

    def run(self, job: Job) -> Outcome:
        return run_job(self._model, job)


def _import_ray() -> Any:
    # Ray would report to its makers; nothing is sent unless the user asks for it.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray  # pyright: ignore[reportMissingImports]  # an extra that development goes without
        import ray.exceptions  # pyright: ignore[reportMissingImports]
        import ray.util  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError(
            'A cluster needs the extra `cluster` (pip install "omnisync[cluster]"), here and on '
            f"every machine ({error}); leave --cluster out to work on this one."
        ) from None
    return ray


def run_on_ray(
    jobs: Sequence[Job],
    *,
    model: str,
    devices: Sequence[str],
    workers: int,
    dtype: torch.dtype,
    threads: int,
) -> Iterator[Outcome]:
    """Outcomes as they come, in any order; a worker on a GPU has one for itself.

    Raises UserError without Ray, without the cluster, and when workers die.
    """
    ray = _import_ray()
    ours = not ray.is_initialized()
    try:
        if ours:
            ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        pool = ray.util.ActorPool(
            [
                ray.remote(_Worker)
                # Ray numbers the GPUs that it gives a worker from 0.
                .options(num_cpus=1, num_gpus=int(kind == "cuda"))
                .remote(model, kind, dtype, threads)
                for kind in (devices[i % len(devices)].split(":")[0] for i in range(workers))
            ]
        )
        yield from pool.map_unordered(lambda worker, job: worker.run.remote(job), jobs)
    except (ray.exceptions.RayError, ConnectionError, RuntimeError) as error:
        raise UserError(
            f"The cluster does not work ({str(error).strip().splitlines()[-1]}); check it with "
            "`ray status` and run the same command again: finished clips are kept."
        ) from None
    finally:
        if ours:
            ray.shutdown()
