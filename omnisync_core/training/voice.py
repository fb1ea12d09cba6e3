"""Voice first: teach the audio encoder to name the mouth before any picture is drawn.

Learning sound to mouth shape through pixels is what makes a small budget fail, so the encoder is
trained alone on labels that cost nothing: articulators and visemes of synthesised speech in many
languages, the same from the word times of real clips, and lips measured on real clips. Everything
is heard under noise, babble, echo, telephone bands and level changes.

    python -m omnisync_core.training.voice DATA OUT --minutes 12

DATA holds clips/train/grid_*/ (clips, landmarks.npz, alignments.json); OUT gets voice.safetensors.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import time
from functools import cache
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from ..audio import SAMPLE_RATE, TOKEN_RATE, AudioEncoder, log_mel
from ..config import preset
from ..errors import UserError
from .align import read_speech
from .flite import VOICES as FLITE_VOICES
from .flite import installed as flite_installed
from .flite import speak
from .noise import augment, squeeze
from .sounds import IGNORED, SoundPool, Utterance
from .tts import Phone, synthesise
from .visemes import ARTICULATORS, VISEMES, articulation, viseme_track

LANGUAGES = {
    "en-us": "en_US",
    "de": "de_DE",
    "fr": "fr_FR",
    "es": "es_ES",
    "ru": "ru_RU",
    "cmn": "zh_CN",
    "ja": "ja_JP",
    "ko": "ko_KR",
    "it": "it_IT",
    "pl": "pl_PL",
    "pt-br": "pt_BR",
}
"""espeak-ng voice -> locale of the word list."""
VARIANTS = ("", "+m1", "+m2", "+m3", "+m4", "+m5", "+m6", "+f1", "+f2", "+f3", "+f4", "+croak")
HELD_OUT_VARIANTS = ("+m7", "+f5", "+klatt2")
"""Timbres that only validation and the held-out figures use."""
OTHER_VARIANTS = tuple(
    "+" + name
    for name in (
        "Alex Alicia Andrea Andy Annie AnxiousAndy Denis Diogo Gene Gene2 Henrique Hugo Jacky Lee "
        "Marco Mario Michael Mike Mr Nguyen RicishayMax RicishayMax2 RicishayMax3 Storm Tweaky "
        "adam anika announcer antonio aunty belinda benjamin boris caleb david ed edward edward2 "
        "grandma grandpa gustave iven iven2 iven3 iven4 john kaukovalta klatt klatt3 klatt4 klatt5 "
        "klatt6 linda m8 marcelo max michel miguel norbert pablo paul pedro quincy rob robert "
        "robosoft robosoft2 robosoft3 robosoft4 robosoft5 robosoft6 robosoft7 robosoft8 sandro "
        "serious shelby steph steph2 steph3 travis victor whisper whisperf zac"
    ).split()
)
"""Timbres that the encoder learns after those (denoise.py); some are hardly a voice."""
HELD_OUT_FLITE = ("awb",)
"""The same of the second engine."""
REAL_SHARE = 4  # times that each piece of real speech counts: there are minutes of it, not hours
_FLITE_SHARE = 0.4
"""Share of the English utterances that the second engine says, if it is installed."""
_WARM_UP = 0.06  # share of the time in which new heads learn alone, before an encoder goes on
_RAMP = 100  # steps in which the rates rise
_ROWS = 20  # of the log


def token_times(samples: int) -> np.ndarray:
    """Time stamps [m] in seconds of the tokens of a sound of that many samples."""
    return np.arange(max(1, -(-samples * int(TOKEN_RATE) // SAMPLE_RATE))) / TOKEN_RATE


def from_phones(waveform: np.ndarray, phones: list[Phone]) -> Utterance:
    """Labels from phone times; lips unknown."""
    times = token_times(len(waveform))
    unknown = np.full((len(times), 2), np.nan, np.float32)
    return Utterance(waveform, articulation(phones, times), viseme_track(phones, times), unknown)


def random_text(rng: np.random.Generator, locale: str) -> str:
    """A few real words of a language, in no order: phone sequences matter here, sense does not."""
    from faker import Faker

    faker = Faker(locale)
    faker.seed_instance(int(rng.integers(2**31)))
    words = " ".join(faker.sentence(nb_words=int(rng.integers(4, 9))) for _ in range(2))
    return re.sub(r"[.。]", lambda _: rng.choice([",", "", "."]), words)


def synthesise_utterance(
    rng: np.random.Generator, *, variants: tuple[str, ...] = VARIANTS
) -> tuple[np.ndarray, list[Phone]]:
    """A random voice says random words of a random language: waveform [n] 16 kHz and its phones."""
    names = list(LANGUAGES)
    share = np.array([4.0 if name.startswith("en") else 1.0 for name in names])
    language = names[rng.choice(len(names), p=share / share.sum())]
    text = random_text(rng, LANGUAGES[language])
    if language.startswith("en") and flite_installed() and rng.random() < _FLITE_SHARE:
        held_out = variants == HELD_OUT_VARIANTS
        fit = [voice for voice in FLITE_VOICES if (voice in HELD_OUT_FLITE) == held_out]
        return speak(text, voice=str(rng.choice(fit)), stretch=float(rng.uniform(0.75, 1.4)))
    waveform, phones = synthesise(
        text,
        voice=language + str(rng.choice(variants)),
        rate=int(rng.integers(120, 230)),
        pitch=int(rng.integers(15, 85)),
        pitch_range=int(rng.integers(20, 90)),
    )
    return waveform, phones


@cache
def _spoken(word: str) -> list[Phone]:
    """The phones of a word, read by itself; a corpus says the same few thousands of times."""
    return [phone for phone in synthesise(word)[1] if phone.symbol]


def phones_of_words(words: list[tuple[float, float, str]]) -> list[Phone]:
    """Phones inside measured word times: durations in proportion to a synthesised reading."""
    phones: list[Phone] = []
    for start, stop, word in words:
        spoken = [] if word in ("sil", "sp") else _spoken(word)
        if not spoken:
            phones.append(Phone("", start, stop))
            continue
        origin, scale = spoken[0].start, (stop - start) / (spoken[-1].stop - spoken[0].start)
        phones += [
            Phone(p.symbol, start + scale * (p.start - origin), start + scale * (p.stop - origin))
            for p in spoken
        ]
    return phones


def lip_measures(landmarks: np.ndarray) -> np.ndarray:
    """Inner-lip opening and mouth width [f, 2], relative to the face, of landmarks [f, 96, 2]."""
    points = landmarks.astype(np.float32) / 32
    named = {number: i for i, number in enumerate(GRID_LANDMARKS)}
    at = lambda number: points[:, named[number]]  # noqa: E731 - one lookup, used seven times
    eyes = [(at(33) + at(133)) / 2, (at(362) + at(263)) / 2]
    mouth = (at(61) + at(291) + at(13) + at(14)) / 4
    between = np.linalg.norm(eyes[0] - eyes[1], axis=-1)
    down = np.linalg.norm((eyes[0] + eyes[1]) / 2 - mouth, axis=-1)
    scale = np.median(np.maximum(between, down))
    opening = np.linalg.norm(at(13) - at(14), axis=-1) / scale
    width = np.linalg.norm(at(61) - at(291), axis=-1) / scale
    return np.stack([10 * opening, 10 * (width - np.median(width))], axis=1).astype(np.float32)


# The 96 of 478 face-mesh points that the corpus' landmark files keep, in their order.
GRID_LANDMARKS = [
    *(61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185),
    *(78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191),
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
    *(33, 133, 159, 145, 362, 263, 386, 374, 1, 4, 168, 98, 327, 2, 70, 105, 107, 336, 334, 300),
]


def grid_utterances(folder: Path, *, most: int | None = None) -> dict[str, Utterance]:
    """The clips (the first `most`) of a corpus folder with measured lips; visemes too where word
    times are known."""
    from ..media import read_audio

    landmarks = np.load(folder / "landmarks.npz")
    path = folder / "alignments.json"
    words = json.loads(path.read_text()) if path.exists() else {}
    found = {}
    for name in landmarks.files[:most]:
        waveform = read_audio(folder / f"{name}.mp4")
        times = token_times(len(waveform))
        lips = lip_measures(landmarks[name])
        at = times * 25  # the corpus runs at 25 frames a second
        lips = np.stack([np.interp(at, np.arange(len(lips)), lips[:, i]) for i in (0, 1)], axis=1)
        if name in words:
            utterance = from_phones(waveform, phones_of_words(words[name]))
            utterance.lips = lips.astype(np.float32)
        else:
            unknown = np.full((len(times), len(ARTICULATORS)), np.nan, np.float32)
            classes = np.full(len(times), IGNORED)
            utterance = Utterance(waveform, unknown, classes, lips.astype(np.float32))
        found[name] = utterance
    return found


class VoiceHeads(nn.Module):
    """What the tokens must tell: eight articulators, a viseme class, two measures of the lips."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.articulators = nn.Linear(width, len(ARTICULATORS))
        self.visemes = nn.Linear(width, len(VISEMES))
        self.lips = nn.Linear(width, 2)

    def loss(self, tokens: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Sum of the three losses where labels are known; tokens [b m d]."""
        total = F.cross_entropy(
            rearrange(self.visemes(tokens), "b m k -> b k m"),
            batch["visemes"],
            label_smoothing=0.05,
            reduction="sum",
        )
        total = total / (batch["visemes"] != IGNORED).sum().clamp(min=1)
        for head, name, weight in (
            (self.articulators, "articulators", 10.0),
            (self.lips, "lips", 1.0),
        ):
            known = ~batch[name].isnan()
            error = (head(tokens) - batch[name].nan_to_num()).square() * known
            total = total + weight * error.sum() / known.sum().clamp(min=1)
        return total


def teach_lips(pool: list[Utterance], real: list[Utterance]) -> None:
    """Lips for those whose phones alone are known: a linear reading of the articulators, fitted on
    clips that have both (correlation with GRID's measured opening: 0.78)."""
    both = [one for one in real if not np.isnan(one.articulators).any()]
    with_one = lambda one: np.pad(one.articulators, ((0, 0), (0, 1)), constant_values=1)  # noqa: E731
    curves, lips = np.concatenate([with_one(b) for b in both]), [b.lips for b in both]
    weights = np.linalg.lstsq(curves, np.concatenate(lips), rcond=None)[0]
    for one in pool:
        one.lips = (with_one(one) @ weights).astype(np.float32)


@torch.no_grad()
def lip_correlation(
    encoder: AudioEncoder, heads: VoiceHeads, held_out: list[Utterance]
) -> np.ndarray:
    """Correlation of heard and measured opening, one figure per real clip."""
    figures = []
    for one in held_out:
        sound = torch.from_numpy(one.waveform).to(encoder.norm.weight.device)
        heard = heads.lips(encoder.encode(sound))[:, 0].cpu().numpy()
        figures.append(np.corrcoef(heard, one.lips[:, 0])[0, 1])
    return np.array(figures)


def load_encoder(path: Path, model: str) -> AudioEncoder:
    """The encoder of a voice.safetensors or of a whole model's weights, of that preset."""
    from safetensors.torch import load_file

    encoder = AudioEncoder(preset(model))
    tensors = load_file(path)
    own = {k.removeprefix("encoder."): v for k, v in tensors.items() if k.startswith("encoder.")}
    try:
        encoder.load_state_dict(own)
    except RuntimeError:
        raise UserError(
            f"Expected a voice.safetensors, or a model, with the voice encoder of {model!r}, got "
            f"{path}: name one that was trained with --model {model}."
        ) from None
    return encoder


def _rates(share: float, *, fresh: bool) -> tuple[float, float]:
    """Learning rates of encoder and heads after that share of the time.

    A fresh encoder learns with its heads. One that learnt before waits for its new heads, so that
    their first guesses do not spoil it, and then moves half as fast.
    """
    if fresh:
        return (both := 1e-3 * max(1 - share, 0.02)), both
    fall = 0.5 + 0.5 * math.cos(math.pi * min(share, 1))
    rise = min(max(share - _WARM_UP, 0) / 0.02, 1)
    return 5e-4 * rise * fall, 2e-3 * fall


def train(
    pool: list[Utterance],
    held_out: list[Utterance],
    out: Path,
    *,
    minutes: float,
    model: str = "mini",
    start: Path | None = None,
    batch: int = 8,
) -> None:
    """Train a preset's encoder for that long; writes encoder and heads to out.

    start: weights whose encoder learns on (see load_encoder), with new heads; batch: stretches of
    four seconds per step. On a GPU where there is one, in bf16 there.
    """
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    generator = torch.Generator(device).manual_seed(0)
    config = preset(model)
    encoder = (load_encoder(start, model) if start else AudioEncoder(config)).to(device)
    heads = VoiceHeads(config.audio_width).to(device)
    groups = [{"params": list(part.parameters())} for part in (encoder, heads)]
    optimiser = torch.optim.AdamW(groups, 1e-3, (0.9, 0.98), weight_decay=0.01, fused=True)
    sounds = SoundPool(pool, device)
    started, step, rows, losses = time.monotonic(), 0, 1, []
    while (spent := (time.monotonic() - started) / 60) < minutes:
        rates = _rates(spent / minutes, fresh=start is None)
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = min(1, (step + 1) / _RAMP) * rate
        drawn = sounds.draw(batch, 200, generator)
        mel = log_mel(augment(drawn["waveform"], drawn["babble"], generator))[:, :400]
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            with torch.set_grad_enabled(rates[0] > 0):
                tokens = encoder(mel)
            loss = heads.loss(tokens, drawn)
        optimiser.zero_grad()
        loss.backward()
        for group in groups:
            nn.utils.clip_grad_norm_(group["params"], 1.0)
        optimiser.step()
        losses.append(loss.detach())
        step += 1
        if spent > minutes * rows / _ROWS:
            rows += 1
            mean = float(torch.stack(losses).mean())
            row = {"step": step, "minutes": round(spent, 2), "loss": round(mean, 4)}
            losses = []
            _keep(encoder, heads, held_out, out, row)
    _keep(encoder, heads, held_out, out, {"step": step, "minutes": minutes})


def _keep(
    encoder: AudioEncoder, heads: VoiceHeads, held_out: list[Utterance], out: Path, row: dict
) -> None:
    """Write the weights as they are, and a row of the log."""
    from safetensors.torch import save_file

    figures = lip_correlation(encoder.eval(), heads, held_out)
    encoder.train()
    row["lip_correlation"] = round(float(np.median(figures)), 3)
    with (out / "voice.jsonl").open("a") as log:
        log.write(json.dumps(row) + "\n")
    both = nn.ModuleDict({"encoder": encoder, "heads": heads})
    save_file(both.state_dict(), out / "voice.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(description="Teach the voice encoder to name the mouth.")
    parser.add_argument("data", type=Path, help="folder that holds clips/train")
    parser.add_argument("out", type=Path, help="folder for voice.safetensors and voice.jsonl")
    parser.add_argument("--minutes", type=float, default=12)
    parser.add_argument("--utterances", type=int, default=1200)
    parser.add_argument("--model", default="mini", help="preset whose encoder is taught")
    parser.add_argument("--start", type=Path, help="weights whose encoder learns on")
    parser.add_argument("--batch", type=int, default=8, help="stretches of 4 s per step")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    said = [synthesise_utterance(rng) for _ in range(arguments.utterances)]
    said += REAL_SHARE * read_speech(arguments.data / "speech/train")
    pool = [from_phones(*one) for one in said if len(one[0]) > SAMPLE_RATE]
    for one in pool:
        one.waveform = squeeze(one.waveform, rng)
    one_speaker = grid_utterances(arguments.data / "clips/train/grid_s1")
    others = grid_utterances(arguments.data / "clips/train/grid_other")
    real = [*list(one_speaker.values())[30:], *6 * list(others.values())[9:]]
    held_out = [*list(one_speaker.values())[:30], *list(others.values())[:9]]
    teach_lips(pool, real)
    how = {name: getattr(arguments, name) for name in ("minutes", "model", "start", "batch")}
    train(pool + real, held_out, arguments.out, **how)


if __name__ == "__main__":
    main()
