"""Make a training folder: rendered pairs, packed real crops, and every sound as tokens.

`omnisync prepare SOURCE` comes here. What the source is decides:

- facekit.npz: pairs are rendered of its heads with synthesised voices;
- a corpus folder (clips and landmarks.npz, as GRID's): its training part is packed;
- any other folder: what is fit for training of its videos and pictures (talking.py).

The training folder gets folders rendered_* and real_*, sounds_*.npz and tokens_*.npz. Hearing comes
last: what is new, or all if the voice encoder is.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from itertools import count
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
from .bootstrap import bootstrap
from .pairs import (
    RATE,
    Pools,
    Voice,
    load_rendered,
    load_shard,
    pack_flow,
    save_shard,
    unheard,
)
from .real import MARGIN, PackedClip, pack_folder, packed_side
from .talking import TAKE, Listener, Take, Verdict, sources_in, takes_of
from .tts import Phone
from .visemes import articulation, expression_weights
from .voice import augment, synthesise_utterance

FRAMES = 16
"""Frames of a rendered clip."""
_CLIPS_PER_HEAD = 2
HELD_OUT = {"grid_other": 9, "grid_s1": 30}
"""The first so many clips of a corpus folder are never trained on."""
_TAKES_PER_PACK = 100  # three quarters of a gigabyte
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
        strength = float(rng.uniform(0.9, 1.1))  # the voice cannot tell it: a narrow range
        pair = render_pair_clip(
            rng,
            head,
            expression_weights(source_curves, names, strength=float(rng.uniform(0.6, 1.2))),
            expression_weights(target_curves, names, strength=strength),
            size=size,
        )
        voice = f"tts_{seed}_{target}"
        rows.append(
            {
                **{k: pair[k] for k in ("source", "target", "mouth")},
                "start": start,
                "voice": voice,
                "flow": pack_flow(pair["flow"]),
            }
        )
    arrays = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    save_shard(out / f"rendered_{seed:03d}", arrays)
    named: dict[str, Any] = {f"tts_{seed}_{i}": sound for i, sound in enumerate(sounds)}
    np.savez(out / f"sounds_tts_{seed:03d}.npz", **named)


def prepare(
    source: Path | None,
    out: Path,
    voice: Path,
    *,
    model: str = "mini",
    seed: int = 1,
    clips: int = 500,
    dub: OmniSync | None = None,
) -> Iterator[Verdict]:
    """Make training data of a source (see above; None only hears again) in folder out.

    voice: voice.safetensors of the voice trainer; model: the preset that will be trained on it;
    seed, clips: of rendering; dub: the weights of self-bootstrapping (bootstrap.py). Yields what
    became of every piece, as it goes. Raises UserError for a source or voice that does not fit.
    """
    load_encoder(voice, model)  # before the long work: does it fit?
    out.mkdir(parents=True, exist_ok=True)
    if source is None:
        pass
    elif source.is_file():
        render_shard(source, out, seed=seed, clips=clips, size=preset(model).crop)
        yield Verdict(f"rendered_{seed:03d}", True, f"{clips} rendered pairs")
    elif not source.is_dir():
        raise UserError(
            f"Expected a folder of videos, a corpus folder or facekit.npz; there is no {source}."
        )
    elif (source / "landmarks.npz").exists():
        yield from _pack_corpus(source, out, packed_side(preset(model).crop))
    else:
        yield from _pack_videos(source, out, Listener(voice, model))
    hear(out, voice, model)
    if dub is not None:
        yield from bootstrap(out, dub)


def _pack_corpus(folder: Path, out: Path, side: int) -> Iterator[Verdict]:
    """Pack the training part of a corpus folder, and its sounds."""
    names = list(np.load(folder / "landmarks.npz").files)
    held = HELD_OUT.get(folder.name, 0)
    for name in names[:held]:
        yield Verdict(name, False, "held out for judging")
    chosen = names[held:][:_ONE_SPEAKER_CLIPS]
    for name in names[held:][_ONE_SPEAKER_CLIPS:]:
        yield Verdict(name, False, f"more than {_ONE_SPEAKER_CLIPS} clips of one corpus")
    packed = pack_folder(folder, names=chosen, side=side)
    sounds = [read_audio(folder / f"{name}.mp4") for name in chosen]
    takes = [Take(clip, sound) for clip, sound in zip(packed, sounds, strict=True)]
    _save_takes(out, folder.name, takes)
    for name in chosen:
        yield Verdict(name, True, "with its landmarks")


def _pack_videos(folder: Path, out: Path, listener: Listener) -> Iterator[Verdict]:
    number, sources = count(), sources_in(folder)
    # Folders of one name may come together in a training folder; each keeps its own packs.
    label = f"{folder.resolve().name}_{zlib.crc32(bytes(folder.resolve())):08x}"
    # Packs hold one kind each: heard takes, unheard ones, and pictures.
    waiting: dict[str, list[Take]] = {}
    for path in sources:
        # Numbers alone, as in LRS2 and VoxCeleb2, would meet again in the next folder.
        name = "-".join((label, *path.relative_to(folder).with_suffix("").parts))
        for result in takes_of(path, name, listener):
            if isinstance(result, Verdict):
                yield result
                continue
            kind = "" if result.sound is not None else f"_unheard{len(result.clip.crops)}"
            waiting.setdefault(kind, []).append(result)
        for kind, takes in waiting.items():
            while sum(len(take.clip.crops) for take in takes) >= _TAKES_PER_PACK * TAKE or (
                takes and path == sources[-1]
            ):
                full = _TAKES_PER_PACK * TAKE // len(takes[0].clip.crops)
                _save_takes(out, f"{label}{kind}_{next(number):03d}", takes[:full])
                del takes[:full]


def _save_takes(out: Path, name: str, takes: list[Take]) -> None:
    """Write takes of one kind as a pack; unheard ones have no sounds_*.npz."""
    arrays = {
        "names": np.array([take.clip.name for take in takes]),
        "crops": np.stack([take.clip.crops for take in takes]),
        "landmarks": np.stack([take.clip.landmarks for take in takes]),
    }
    save_shard(out / f"real_{name}", arrays)
    sounds: dict[str, Any] = {
        t.clip.name: np.round(t.sound * 32767).astype(np.int16)
        for t in takes
        if t.sound is not None
    }
    if sounds:
        np.savez(out / f"sounds_{name}.npz", **sounds)


@torch.no_grad()
def hear(out: Path, voice: Path, name: str = "mini") -> None:
    """Encode every sound twice, clean and under the voice trainer's noise, as float16 tokens.

    One tokens_*.npz for each sounds_*.npz; those that are newer than the encoder are kept.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    encoder = load_encoder(voice, name).encoder.to(device)
    for path in sorted(out.glob("sounds_*.npz")):
        done = out / path.name.replace("sounds_", "tokens_")
        if done.exists() and done.stat().st_mtime > max(p.stat().st_mtime for p in (path, voice)):
            continue
        generator = torch.Generator(device).manual_seed(0)
        tokens: dict[str, Any] = {}
        babble = torch.zeros(1, SAMPLE_RATE, device=device)
        for name, samples in np.load(path).items():
            clean = torch.from_numpy(samples.astype(np.float32) / 32767)[None].to(device)
            # Whole half seconds: a Fourier transform of a prime length takes many times as long.
            clean = F.pad(clean, (0, -clean.shape[1] % (SAMPLE_RATE // 2)))
            noisy = augment(clean, _fit(babble, clean.shape[1]), generator)
            takes = [encoder.encode(sound[0]).half() for sound in (clean, noisy)]
            tokens[name], babble = torch.stack(takes).cpu().numpy(), clean
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


def load_pools(*folders: Path, model: str = "mini") -> Pools:
    """Everything prepared in some folders. Each real corpus weighs the same, whatever its size.

    Raises UserError where nothing is prepared, or for another model.
    """
    config = preset(model)
    voices = {
        name: Voice(tokens)
        for folder in folders
        for path in sorted(folder.glob("tokens_*.npz"))
        for name, tokens in np.load(path).items()
    }
    real, odds = [], []
    for path in (path for folder in folders for path in sorted(folder.glob("real_*"))):
        pack = load_shard(path)
        names, crops, landmarks = pack["names"], pack["crops"], pack["landmarks"]
        heard = "_unheard" not in path.name
        for i, name in enumerate(names):
            voice = voices[str(name)] if heard else unheard(config.audio_width)
            edited = pack["edited"][i] if "edited" in pack else None
            real.append((PackedClip(str(name), crops[i], landmarks[i], edited), voice))
            odds.append(1 / len(names))
    weights = np.array(odds) / sum(odds) if odds else None
    rendered = [clip for folder in folders for clip in load_rendered(folder, voices)]
    sides = {c.source.shape[1] for c in rendered} | {
        round(clip.crops.shape[1] / MARGIN) for clip, _ in real
    }
    widths = {voice.tokens.shape[-1] for voice in voices.values()}
    if not sides or sides != {config.crop} or widths - {config.audio_width}:
        found = f"crops of {sorted(sides)} with {sorted(widths)} numbers a token"
        raise UserError(
            f"Expected data prepared for {model!r} (crops of {config.crop} pixels with "
            f"{config.audio_width} numbers a token) in {', '.join(map(str, folders))}; got "
            f"{found if sides else 'nothing'}. Run `omnisync prepare ... --model {model}` first."
        )
    return Pools(
        rendered=rendered,
        real=real,
        size=config.crop,
        reach=config.audio_reach,
        real_weights=weights,
    )
