"""Synthesised speech with exact phoneme times, read out of libespeak-ng.

Text in, waveform [n] float32 (mono, 16 kHz) and phones out, the same for the same text whatever was
spoken before. libespeak-ng reports an event per phoneme while it synthesises, so the timing is
exact in every language that it speaks; nothing is aligned afterwards. The library is a system
package (Debian: libespeak-ng1) and needed for training only.
"""

from __future__ import annotations

import ctypes.util
import json
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from ..errors import UserError
from .espeak import NO_SUCH_VOICE

SAMPLE_RATE = 16_000


@dataclass(frozen=True)
class Phone:
    """One phoneme: IPA symbol ("" is silence), start and stop in seconds."""

    symbol: str
    start: float
    stop: float


@lru_cache(maxsize=1)
def _library() -> str:
    name = ctypes.util.find_library("espeak-ng")
    if name is None:
        raise UserError(
            "Synthesised voices need libespeak-ng, which was not found: install it "
            "(Debian and Ubuntu: apt install libespeak-ng1; macOS: brew install espeak-ng)."
        )
    return name


def synthesise(
    text: str, *, voice: str = "en-us", rate: int = 170, pitch: int = 50, pitch_range: int = 50
) -> tuple[np.ndarray, list[Phone]]:
    """Speak text; returns the waveform [n] float32 in [-1, 1] at 16 kHz and its phones in order.

    voice: an espeak-ng voice, a variant behind a plus sign ("de+f2"); rate: words per minute;
    pitch, pitch_range: 0..99. Raises UserError for an unknown voice.
    """
    from scipy.signal import resample_poly

    script = Path(__file__).with_name("espeak.py")
    knobs = [voice, *map(str, (rate, pitch, pitch_range))]
    # Isolated, without site-packages: it starts five times as fast.
    command = [sys.executable, "-I", "-S", str(script), _library(), *knobs]
    spoken = subprocess.run(command, input=text.encode(), capture_output=True, check=False)
    if spoken.returncode == NO_SUCH_VOICE:
        raise UserError(f"espeak-ng has no voice named {voice!r}; `espeak-ng --voices` lists them.")
    if spoken.returncode:
        raise UserError(f"libespeak-ng failed: {spoken.stderr.decode(errors='replace')[-300:]}")
    head, _, data = spoken.stdout.partition(b"\n")
    if not data:
        return np.zeros(0, np.float32), []
    found = json.loads(head)
    samples = np.frombuffer(data, np.int16).astype(np.float32) / 32768
    waveform = resample_poly(samples, SAMPLE_RATE, found["rate"]).astype(np.float32)
    stops = [start for start, _ in found["marks"][1:]] + [len(waveform) / SAMPLE_RATE]
    phones = [
        Phone(symbol.strip("ˈˌ'_: "), start, stop)
        for (start, symbol), stop in zip(found["marks"], stops, strict=True)
    ]
    return waveform, phones
