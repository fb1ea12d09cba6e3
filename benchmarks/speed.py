"""How fast is a model here: frames a second by steps and passes, stages, time against FLOPs.

    python benchmarks/speed.py                            # the demo clip, 48 frames, 2 threads
    python benchmarks/speed.py --video A.mp4 --audio B.wav --frames 100 --threads 2

--untrained takes fresh weights of a preset (as fast; use it where no weights file is). Passes are
what ST-CFG costs a step: 1 is the plain conditional network (profile constant, both scales 1), 3
the profile `seed` at scale 2. Stage times come from one profiled run at the default options:
"decode" and "encode" are the waits for ffmpeg, which works beside the model. Floating-point
operations are counted from the config (a multiply and an add are two), for the blocks that
pictures and sound go through.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import sys
import tempfile
import time
from importlib import resources
from pathlib import Path

import torch
from curves import table
from pairing import ffmpeg

from omnisync_core.checkpoint import load_model
from omnisync_core.config import ModelConfig, SyncOptions, preset
from omnisync_core.media import probe_video
from omnisync_core.model import OmniSync
from omnisync_core.pipeline import sync_video

STAGES = {
    "decode": [("ffmpeg.py", "read_into")],
    "locate": [("locator.py", "locate"), ("locator.py", "follow"), ("pipeline.py", "_thumbnail")],
    "cuts": [("flow_init.py", "is_cut")],
    "audio": [("audio_files.py", "read_audio"), ("model.py", "encode_audio")],
    "crop": [("composite.py", "take_crop")],
    "flow and noise": [("flow_init.py", "next")],
    "sampling": [("editing.py", "edit_window")],
    "own mouth": [("own_mouth.py", "__init__"), ("own_mouth.py", "wear")],
    "composite": [("composite.py", "paste_crop")],
    "encode": [("frame_writer.py", name) for name in ("__enter__", "write", "__exit__")],
}
"""Functions whose cumulative time is a stage's; none of them calls another of the table."""


def flops_per_frame(config: ModelConfig, *, size: int, window: int) -> dict[str, int]:
    """Operations of the transformer for one frame and one pass, by part. size: the crop's side."""
    n, d, a = (size // config.patch) ** 2, config.width, config.audio_width
    k, pixels, wide = 2 * config.audio_reach + 1, size * size, config.detail_width
    once = {
        "embed": 2 * n * 6 * config.patch**2 * d,
        "frame sound": 2 * (k * a * d + d * d),
        "out": 2 * n * d * wide * (config.patch // 2) ** 2,
        # The decoder's convolutions, at half the resolution: stem, body, flow and residual.
        "decoder": 2 * 9 * pixels // 4 * (24 * wide + 4 * (2 * wide) ** 2 + 2 * wide * 22),
    }
    block = {
        "space attention": 8 * n * d * d + 4 * n * n * d,
        "time attention": 8 * n * d * d + 4 * n * window * d,
        "sound attention": 4 * n * d * d + 4 * k * a * d + 4 * n * k * d,
        "feed-forward": 16 * n * d * d,
        "modulation": 2 * 9 * d * d,
    }
    return once | {name: config.depth * count for name, count in block.items()}


def counted_by_torch(model: OmniSync, *, size: int, window: int) -> float:
    """The same per frame as torch counts it; on the CPU it misses attention's own products."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        _forward(model, size=size, window=window, passes=1)
    return counter.get_total_flops() / window


@torch.no_grad()
def _forward(model: OmniSync, *, size: int, window: int, passes: int) -> None:
    config = model.config
    frames = torch.zeros(passes, window, 3, size, size)
    windows = torch.zeros(passes, window, 2 * config.audio_reach + 1, config.audio_width)
    voiceprint = torch.zeros(passes, config.voiceprint_width)
    times = torch.arange(window).repeat(passes, 1) / 25
    model.transformer(frames, frames, torch.full((passes,), 0.5), windows, voiceprint, times)


def _best_time(run, *, times: int = 5) -> float:
    """Shortest wall time of several runs, in seconds: what the machine can do undisturbed."""
    best = float("inf")
    for _ in range(times):
        started = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - started)
    return best


def transformer_table(model: OmniSync, *, window: int) -> str:
    """Time per frame and pass against the operations, and what a plain product reaches."""
    size = model.config.crop
    parts = flops_per_frame(model.config, size=size, window=window)
    total = sum(parts.values())
    counted = counted_by_torch(model, size=size, window=window)
    square = torch.randn(1024, 1024)
    reached = 2 * 1024**3 / _best_time(lambda: square @ square, times=10)
    rows = []
    for passes in (1, 3):
        spent = _best_time(lambda: _forward(model, size=size, window=window, passes=passes))  # noqa: B023
        each = spent / (window * passes)
        rows.append([str(passes), f"{1000 * each:.1f}", f"{total / each / 1e9:.1f}",
                     f"{total / each / reached:.0%}"])  # fmt: skip
    header = ["passes in the batch", "ms per frame and pass", "GFLOP/s", "of a 1024 x 1024 product"]
    largest = sorted(parts.items(), key=lambda part: -part[1])[:4]
    shares = ", ".join(f"{name} {count / total:.0%}" for name, count in largest)
    return (
        f"\n{total / 1e9:.2f} GFLOP per frame and pass at {size} x {size}, window {window} "
        f"(torch counts {counted / 1e9:.2f} without attention's own products): {shares}. "
        f"A 1024 x 1024 product runs at {reached / 1e9:.1f} GFLOP/s.\n\n" + table(header, rows)
    )


def steps_table(
    model: OmniSync, video: Path, audio: Path, *, frames: int, folder: Path, region: str
) -> str:
    """Whole runs, file to file."""
    info, rows = probe_video(video), []
    for passes, guidance in (
        (1, {}),
        (3, {"profile": "seed", "spatial_scale": 2.0, "temporal_scale": 2.0}),
    ):
        for steps in (1, 2, 4, 8):
            options = SyncOptions(steps=steps, region=region, **guidance)
            started = time.perf_counter()
            sync_video(model, video, audio, folder / "out.mp4", options=options)
            spent = time.perf_counter() - started
            real = spent / (frames / float(info.rate))
            rows.append([str(passes), str(steps), f"{frames / spent:.2f}", f"{real:.1f}"])
    header = ["passes", "steps", "frames a second", "seconds per second of video"]
    return "\n" + table(header, rows)


def stage_table(
    model: OmniSync, video: Path, audio: Path, *, frames: int, folder: Path, region: str
) -> str:
    """Milliseconds per frame and stage of one run at the default options."""
    options, profile = SyncOptions(region=region), cProfile.Profile()
    started = time.perf_counter()
    profile.enable()
    sync_video(model, video, audio, folder / "out.mp4", options=options)
    profile.disable()
    spent = time.perf_counter() - started
    seconds: dict[tuple[str, str], float] = {}
    for (file, _, name), row in pstats.Stats(profile).stats.items():  # pyright: ignore
        key = (Path(file).name, name)
        seconds[key] = max(seconds.get(key, 0.0), row[3])
    rows, known = [], 0.0
    for stage, functions in STAGES.items():
        # follow() calls locate() for some frames: the longer of nested functions counts.
        times = [seconds.get(function, 0.0) for function in functions]
        total = max(times) if stage == "locate" else sum(times)
        known += total
        rows.append([stage, f"{1000 * total / frames:.1f}", f"{total / spent:.0%}"])
    rest = spent - known
    rows.append(["the rest", f"{1000 * rest / frames:.1f}", f"{rest / spent:.0%}"])
    rows.append(["all", f"{1000 * spent / frames:.1f}", "100%"])
    title = f"\nStages at {options.steps} steps, window {options.window}, {frames} frames\n\n"
    return title + table(["stage", "ms per frame", "share"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    demo = Path(str(resources.files("omnisync_core"))) / "demo"
    parser.add_argument("--video", type=Path, default=demo / "character.mp4")
    parser.add_argument("--audio", type=Path, default=demo / "voice.wav")
    parser.add_argument("--model", default="mini", help="embedded model or checkpoint")
    parser.add_argument("--untrained", metavar="PRESET", help="fresh weights of a preset instead")
    parser.add_argument("--region", default="auto")
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.untrained:
        model = OmniSync(preset(arguments.untrained)).eval().requires_grad_(False)
    else:
        model = load_model(arguments.model)
    write = sys.stdout.write
    write(f"\n{model.config.name}: {torch.get_num_threads()} threads of {os.cpu_count()} cores, ")
    write(f"torch {torch.__version__}\n")
    write(transformer_table(model, window=SyncOptions().window))
    sys.stdout.flush()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        video = folder / "in.mkv"
        ffmpeg("-i", arguments.video, "-frames:v", arguments.frames, "-an", "-c:v", "copy", video)
        given = {"folder": folder, "frames": probe_video(video).frames, "region": arguments.region}
        write(stage_table(model, video, arguments.audio, **given))
        sys.stdout.flush()
        write(steps_table(model, video, arguments.audio, **given))


if __name__ == "__main__":
    main()
