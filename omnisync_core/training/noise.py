"""What happens to a voice before it is heard: rooms, lines, other people, coders.

In: waveforms [b, n] or [n] at 16 kHz. Out: the same length, heard badly. `augment` draws noise,
babble, echo, bands, telephone coding and levels anew for every batch; `coded` passes a sound
through a real codec, which is too slow for that and is done once for a share of the utterances.
`music` makes what may stand in place of the other people.
"""

from __future__ import annotations

import math
import subprocess

import imageio_ffmpeg
import numpy as np
import torch
from torch import Tensor

from ..audio import SAMPLE_RATE
from ..errors import UserError

CODECS = {
    "mp3": ("libmp3lame", ("16k", "24k", "32k", "48k"), "mp3"),
    "opus": ("libopus", ("8k", "12k", "24k"), "ogg"),
    "aac": ("aac", ("16k", "32k"), "adts"),
}
"""Codec -> ffmpeg's encoder, bit rates, container."""
_DEMUXERS = {"mp3": "mp3", "ogg": "ogg", "adts": "aac"}
_CODED_SHARE = 0.3
_MOST_DELAY = 8000  # samples; AAC has 1024 or 2048 at its own rate


def augment(
    waveform: Tensor, babble: Tensor, generator: torch.Generator, *, faintest: float = 35.0
) -> Tensor:
    """Heard badly: [b, n] -> [b, n], each row drawn by itself.

    Bands (telephone to full), echo, noise (white to brown) and another voice (babble), each 0 to
    `faintest` dB below the voice, telephone coding (G.711's companding to 8 bits), gain over 30 dB.
    The generator is one of the waveform's device.
    """
    (count, samples), device = waveform.shape, waveform.device
    rand = lambda *shape: torch.rand(*shape, generator=generator, device=device)  # noqa: E731
    randn = lambda *shape: torch.randn(*shape, generator=generator, device=device)  # noqa: E731
    spectrum = torch.fft.rfft(waveform)
    hertz = torch.linspace(0, SAMPLE_RATE / 2, spectrum.shape[1], device=device)[None]
    low, high = 400 * rand(count, 1) ** 2, 8000 - 4800 * rand(count, 1) ** 2
    band = torch.sigmoid((hertz - low) / 30) * torch.sigmoid((high - hertz) / 100)
    tilt = (hertz.clamp(min=50) / 1000) ** (1.2 * rand(count, 1) - 0.6)
    heard = torch.fft.irfft(spectrum * torch.where(rand(count, 1) < 0.6, band * tilt, 1.0), samples)
    seconds = torch.arange(8000, device=device) / SAMPLE_RATE
    tail = randn(count, 8000) * torch.exp(-seconds / (0.02 + 0.12 * rand(count, 1)))
    tail[:, :16] = 0
    wet = 0.5 * rand(count, 1) ** 2 * (rand(count, 1) < 0.4)
    tail = wet * tail / tail.norm(dim=1, keepdim=True)
    tail[:, 0] = 1
    size = samples + 8000
    heard = torch.fft.irfft(torch.fft.rfft(heard, size) * torch.fft.rfft(tail, size), size)
    heard = heard[:, :samples]
    colour = (hertz.clamp(min=20) / 1000) ** (-rand(count, 1))
    noise = torch.fft.rfft(randn(count, samples)) * colour
    noise = torch.fft.irfft(noise, samples)
    level = heard.square().mean(1, keepdim=True).sqrt().clamp(min=1e-4)
    for other, odds in ((noise, 0.7), (babble, 0.25)):
        ratio = 10 ** (-(faintest * rand(count, 1)) / 20) * (rand(count, 1) < odds)
        other_level = other.square().mean(1, keepdim=True).sqrt().clamp(min=1e-4)
        heard = heard + ratio * level * other / other_level
    peak = heard.abs().amax(1, keepdim=True).clamp(min=1e-3)
    heard = torch.where(rand(count, 1) < 0.15, _companded(heard / peak), heard / peak)
    return heard * 10 ** (-1.5 * rand(count, 1))


def music(rng: np.random.Generator, samples: int) -> np.ndarray:
    """Something like music without song: [n] at 16 kHz, about unit variance.

    Notes of some scale with a few harmonics, plucked or held, alone or as chords, and a beat of
    short noises, each or both.
    """
    times = np.arange(samples) / SAMPLE_RATE
    beat, root = rng.uniform(0.15, 0.7), 55 * 2 ** rng.uniform(0, 2.5)
    sound = np.zeros(samples, np.float32)
    kinds = rng.choice(["notes", "beat", "both"], p=[0.45, 0.15, 0.4])
    steps = rng.choice([0, 2, 4, 5, 7, 9, 11, 12], 5)  # of a major scale, in semitones
    held, odds = rng.uniform(0.1, 2), rng.uniform(0.2, 0.9)
    falls = rng.uniform(0.3, 1.5)  # how fast its harmonics do
    for onset in np.arange(rng.uniform(0, beat), times[-1], beat):
        here = slice(int(onset * SAMPLE_RATE), int((onset + 2 * held + 0.3) * SAMPLE_RATE))
        since = times[here] - times[here][0]
        if kinds != "beat" and rng.random() < odds:
            for step in rng.choice(steps, int(rng.integers(1, 4))):
                pitch = root * 2 ** (step / 12 + int(rng.integers(0, 3)))
                envelope = np.minimum(since / 0.01, 1) * np.exp(-since / held)
                count = min(8, int(SAMPLE_RATE / 2 / pitch))
                waves = [np.sin(2 * np.pi * k * pitch * since) / k**falls for k in range(1, count)]
                sound[here] += envelope * np.sum(waves, 0) if waves else 0
        if kinds != "notes" and rng.random() < 0.8:
            drum = rng.standard_normal(len(since)) * np.exp(-since / rng.uniform(0.01, 0.1))
            if rng.random() < 0.5:  # a low one
                drum = np.sin(2 * np.pi * rng.uniform(50, 120) * since) * np.exp(-since / 0.1)
            sound[here] += rng.uniform(0.5, 2) * drum
    return sound / max(float(sound.std()), 1e-4)


def _companded(waveform: Tensor) -> Tensor:
    """As a telephone line carries it: the mu-law of ITU-T G.711 and back, 8 bits."""
    curve = waveform.sign() * torch.log1p(255 * waveform.abs()) / math.log(256)
    curve = (curve * 127).round() / 127
    return curve.sign() * torch.expm1(curve.abs() * math.log(256)) / 255


def coded(waveform: np.ndarray, codec: str, rate: str) -> np.ndarray:
    """A waveform [n] at 16 kHz through a codec of CODECS at a bit rate ("24k"), not delayed.

    Raises UserError if this ffmpeg has no such encoder.
    """
    encoder, _, container = CODECS[codec]
    program = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error"]
    raw = ["-f", "f32le", "-ar", str(SAMPLE_RATE), "-ac", "1"]
    write = [*program, *raw, "-i", "-", "-c:a", encoder, "-b:a", rate, "-f", container, "-"]
    sound = waveform.astype("<f4").tobytes()
    squeezed = subprocess.run(write, input=sound, capture_output=True)
    if squeezed.returncode:
        raise UserError(
            f"ffmpeg could not code a sound as {codec} at {rate}: "
            f"{squeezed.stderr.decode(errors='replace').strip()}"
        )
    read = [*program, "-f", _DEMUXERS[container], "-i", "-", *raw, "-"]
    heard = subprocess.run(read, input=squeezed.stdout, capture_output=True, check=True).stdout
    heard = np.frombuffer(heard, "<f4")
    heard = heard[_late(waveform, heard) :][: len(waveform)]
    return np.pad(heard, (0, len(waveform) - len(heard)))


def squeeze(waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A waveform [n] at 16 kHz, in three of ten draws through a random codec and bit rate."""
    if rng.random() > _CODED_SHARE:
        return waveform
    codec = str(rng.choice(list(CODECS)))
    return coded(waveform, codec, str(rng.choice(CODECS[codec][1])))


def _late(sound: np.ndarray, heard: np.ndarray) -> int:
    """Samples by which a coder delays: raw streams do not say what the coder put in front."""
    size = len(sound) + len(heard)
    cross = np.fft.irfft(np.fft.rfft(heard, size) * np.fft.rfft(sound, size).conj(), size)
    return int(cross[:_MOST_DELAY].argmax())
