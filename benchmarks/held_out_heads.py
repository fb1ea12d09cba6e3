"""Talking heads that no training saw, with their true lips.

In: facekit.npz, libespeak-ng. Out, per item: source.mp4 (a head says one sentence), voice.wav
(another sentence), truth.mp4 (the same head, pose and light says that one), truth.npz (times [f],
the true inner-lip openings `source` and `truth` [f] over the crop's side, `closures` [n, 2]: start
and stop in seconds of each p, b, m in the driving voice). Heads are drawn from seeds, voices from
timbres, that training does not use. Used by lip_sync.py.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from pairing import RATE, data_folder, write_sound

from omnisync_core.region import standard_box
from omnisync_core.training.render import Head, HeadKit, Picture, Scene, render_clip
from omnisync_core.training.tts import Phone
from omnisync_core.training.visemes import VISEMES, articulation, expression_weights, viseme_class
from omnisync_core.training.voice import HELD_OUT_VARIANTS, synthesise_utterance

FRAME_RATE = 25
_SEED = 880_000  # training's shards count from 1
_QUIET = 0.4  # seconds of silence before the voice


def sentence(rng: np.random.Generator, seconds: float) -> tuple[np.ndarray, list[Phone]]:
    """A held-out timbre says something: [n] of that many seconds, silence first, and its phones."""
    waveform, phones = synthesise_utterance(rng, variants=HELD_OUT_VARIANTS)
    while len(waveform) < RATE:
        waveform, phones = synthesise_utterance(rng, variants=HELD_OUT_VARIANTS)
    phones = [Phone(p.symbol, p.start + _QUIET, p.stop + _QUIET) for p in phones]
    padded = np.pad(waveform, (int(_QUIET * RATE), int(seconds * RATE)))[: int(seconds * RATE)]
    return padded, [p for p in phones if p.start < seconds]


def _write(path: Path, pictures: Iterable[tuple[np.ndarray, Picture]], *, size: int) -> np.ndarray:
    """Encode near-lossless; returns the true openings over the head's size [f]."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-f", "rawvideo"]
    command += ["-pix_fmt", "rgb24", "-s", f"{size}x{size}", "-r", str(FRAME_RATE), "-i", "-"]
    command += ["-c:v", "libx264", "-crf", "8", "-pix_fmt", "yuv420p", str(path)]
    openings = []
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        for frame, picture in pictures:
            process.stdin.write(frame.tobytes())
            box = standard_box(picture.eyes[0], picture.eyes[1], picture.mouth)
            openings.append(picture.opening / box.side)
    return np.array(openings)


def render_item(folder: Path, *, index: int, seconds: float, size: int = 384) -> dict[str, str]:
    """Render item number `index` into the folder; what it shows, in words."""
    rng = np.random.default_rng(_SEED + index)
    kit = _kit()
    head, scene = Head(kit, rng), Scene(rng)
    _, said = sentence(rng, seconds)
    sound, to_say = sentence(rng, seconds)
    times = np.arange(int(seconds * FRAME_RATE)) / FRAME_RATE
    openings = {}
    for name, phones in (("source", said), ("truth", to_say)):
        weights = expression_weights(articulation(phones, times), kit.expression_names)
        clip = render_clip(head, scene, weights, width=size, height=size, seed=_SEED + index)
        openings[name] = _write(folder / f"{name}.mp4", clip, size=size)
    write_sound(folder / "voice.wav", sound)
    closed = [p for p in to_say if p.symbol and VISEMES[viseme_class(p.symbol)].name == "pbm"]
    spans = np.array([(p.start, p.stop) for p in closed]).reshape(-1, 2)
    np.savez(folder / "truth.npz", times=times, closures=spans, **openings)
    return {"style": scene.finish.style}


@lru_cache(maxsize=1)
def _kit() -> HeadKit:
    return HeadKit.load(data_folder() / "facekit.npz")
