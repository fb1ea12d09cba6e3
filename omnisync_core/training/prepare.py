"""Make a training folder: rendered pairs, packed real crops, and every sound as tokens.

    python -m omnisync_core.training.prepare render DATA OUT --seed 1 --clips 1000
    python -m omnisync_core.training.prepare real DATA OUT
    python -m omnisync_core.training.prepare hear OUT VOICE.safetensors

DATA holds facekit.npz and clips/train/; OUT gets rendered_*.npz, sounds_*.npz, real_*.npz and
tokens_*.npz. `hear` comes last; again, it hears what is new, or all if the encoder is.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from ..audio import SAMPLE_RATE
from ..config import preset
from ..errors import UserError
from ..media import read_audio
from ..model import OmniSync
from .pairs import RATE, Pools, Voice, load_rendered
from .real import PackedClip, pack_folder
from .tts import Phone
from .visemes import articulation, expression_weights
from .voice import augment, synthesise_utterance

FRAMES = 8
"""Frames of a rendered clip."""
_CLIPS_PER_HEAD = 4
HELD_OUT = {"grid_other": 9, "grid_s1": 30}
"""The first so many clips of a corpus folder are never trained on."""
_ONE_SPEAKER_CLIPS = 270  # keeps the packed crops of one face under 1 GB


def _stretch(
    phones: list[Phone], seconds: float, rng: np.random.Generator
) -> tuple[float, np.ndarray]:
    """A random start and the articulators [FRAMES, 8] from there."""
    start = float(rng.uniform(-0.2, max(seconds - FRAMES / RATE + 0.2, 0.1)))
    return start, articulation(phones, start + np.arange(FRAMES) / RATE)


def render_shard(facekit: Path, out: Path, *, seed: int, clips: int, size: int) -> None:
    """Render pairs of random heads that speak random utterances; writes one shard of each kind."""
    from .render import Head, HeadKit, render_pair_clip

    rng = np.random.default_rng(seed)
    kit = HeadKit.load(facekit)
    names = list(kit.expression_names)
    sounds, spoken, rows = [], [], []
    head: Head | None = None
    for i in range(clips):
        if i % _CLIPS_PER_HEAD == 0:
            head = Head(kit, rng)
        if i % 3 == 0 or len(sounds) < 2:
            waveform, phones = synthesise_utterance(rng)
            if len(waveform) < SAMPLE_RATE:
                continue
            sounds.append(np.round(waveform * 32767).astype(np.int16))
            spoken.append(phones)
        assert head is not None  # made at i = 0
        # The newest sounds, so that a voice meets several heads.
        target, source = (int(rng.integers(max(0, len(sounds) - 6), len(sounds))) for _ in "ab")
        start, target_curves = _stretch(spoken[target], len(sounds[target]) / SAMPLE_RATE, rng)
        _, source_curves = _stretch(spoken[source], len(sounds[source]) / SAMPLE_RATE, rng)
        if rng.random() < 0.12:  # sources that do not speak: generated clips and stills
            source_curves = np.repeat(source_curves[:1] * (rng.random() < 0.5), FRAMES, axis=0)
        strength = float(rng.uniform(0.75, 1.15))
        pair = render_pair_clip(
            rng,
            head,
            expression_weights(source_curves, names, strength=float(rng.uniform(0.6, 1.2))),
            expression_weights(target_curves, names, strength=strength),
            size=size,
        )
        voice = f"tts_{seed}_{target}"
        rows.append((pair["source"], pair["target"], pair["mouth"], start, voice))
    source, target, mouth, start, voice = (np.array(column) for column in zip(*rows, strict=True))
    np.savez(
        out / f"rendered_{seed:03d}.npz",
        source=source,
        target=target,
        mouth=mouth,
        start=start,
        voice=voice,
    )
    named: dict[str, Any] = {f"tts_{seed}_{i}": sound for i, sound in enumerate(sounds)}
    np.savez(out / f"sounds_tts_{seed:03d}.npz", **named)


def pack_real(data: Path, out: Path) -> None:
    """Pack the training part of every corpus folder, and its sounds."""
    for folder in sorted((data / "clips/train").iterdir()):
        names = list(np.load(folder / "landmarks.npz").files)[HELD_OUT.get(folder.name, 0) :]
        packed = pack_folder(folder, names=names[:_ONE_SPEAKER_CLIPS])
        np.savez(
            out / f"real_{folder.name}.npz",
            names=np.array([clip.name for clip in packed]),
            crops=np.stack([clip.crops for clip in packed]),
            landmarks=np.stack([clip.landmarks for clip in packed]),
        )
        sounds: dict[str, Any] = {
            clip.name: np.round(read_audio(folder / f"{clip.name}.mp4") * 32767).astype(np.int16)
            for clip in packed
        }
        np.savez(out / f"sounds_{folder.name}.npz", **sounds)


@torch.no_grad()
def hear(out: Path, voice: Path) -> None:
    """Encode every sound twice, clean and under the voice trainer's noise, as float16 tokens.

    One tokens_*.npz for each sounds_*.npz; those that are newer than the encoder are kept.
    """
    model = load_encoder(voice)
    for path in sorted(out.glob("sounds_*.npz")):
        done = out / path.name.replace("sounds_", "tokens_")
        if done.exists() and done.stat().st_mtime > max(p.stat().st_mtime for p in (path, voice)):
            continue
        generator = torch.Generator().manual_seed(0)
        tokens: dict[str, Any] = {}
        babble = torch.zeros(1, SAMPLE_RATE)
        for name, samples in np.load(path).items():
            clean = torch.from_numpy(samples.astype(np.float32) / 32767)[None]
            # Whole half seconds: a Fourier transform of a prime length takes many times as long.
            clean = F.pad(clean, (0, -clean.shape[1] % (SAMPLE_RATE // 2)))
            noisy = augment(clean, _fit(babble, clean.shape[1]), generator)
            takes = [model.encoder.encode(sound[0]).half().numpy() for sound in (clean, noisy)]
            tokens[name], babble = np.stack(takes), clean
        unfinished = done.with_suffix(".tmp.npz")
        np.savez(unfinished, **tokens)
        unfinished.replace(done)


def _fit(sound: torch.Tensor, samples: int) -> torch.Tensor:
    """Repeat or cut a sound [1, n] to that many samples."""
    return sound.repeat(1, -(-samples // sound.shape[1]))[:, :samples]


def load_encoder(voice: Path, name: str = "mini") -> OmniSync:
    """A fresh model of that preset whose ears are already taught."""
    model = OmniSync(preset(name))
    tensors = load_file(voice)
    prefix = "encoder."
    encoder = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    try:
        model.encoder.load_state_dict(encoder)
    except RuntimeError:
        raise UserError(
            f"{voice} holds no voice encoder of the size of {name!r}; train one with "
            "`python -m omnisync_core.training.voice`."
        ) from None
    return model


def load_pools(folder: Path) -> Pools:
    """Everything prepared in a folder. Each real corpus weighs the same, whatever its size."""
    config = preset("mini")
    voices = {
        name: Voice(tokens)
        for path in sorted(folder.glob("tokens_*.npz"))
        for name, tokens in np.load(path).items()
    }
    real, odds = [], []
    for path in sorted(folder.glob("real_*.npz")):
        pack = np.load(path)
        names, crops, landmarks = pack["names"], pack["crops"], pack["landmarks"]
        for i, name in enumerate(names):
            real.append((PackedClip(str(name), crops[i], landmarks[i]), voices[str(name)]))
            odds.append(1 / len(names))
    weights = np.array(odds) / sum(odds) if odds else None
    return Pools(
        rendered=load_rendered(folder, voices),
        real=real,
        size=config.crop,
        reach=config.audio_reach,
        real_weights=weights,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Make a training folder.")
    kinds = parser.add_subparsers(dest="kind", required=True)
    render = kinds.add_parser("render")
    render.add_argument("data", type=Path)
    render.add_argument("out", type=Path)
    render.add_argument("--seed", type=int, default=1)
    render.add_argument("--clips", type=int, default=1000)
    real = kinds.add_parser("real")
    real.add_argument("data", type=Path)
    real.add_argument("out", type=Path)
    listen = kinds.add_parser("hear")
    listen.add_argument("out", type=Path)
    listen.add_argument("voice", type=Path)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.kind == "render":
        facekit, size = arguments.data / "facekit.npz", preset("mini").crop
        render_shard(facekit, arguments.out, seed=arguments.seed, clips=arguments.clips, size=size)
    elif arguments.kind == "real":
        pack_real(arguments.data, arguments.out)
    else:
        hear(arguments.out, arguments.voice)


if __name__ == "__main__":
    main()
