"""Synthesised speech with exact phoneme times, read out of libespeak-ng.

Text in, waveform [n] float32 (mono, 16 kHz) and phones out. libespeak-ng reports an event per
phoneme while it synthesises, so the timing is exact in every language that it speaks; nothing is
aligned afterwards. The library is a system package (Debian: libespeak-ng1) and needed for training
only.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..errors import UserError

SAMPLE_RATE = 16_000

# Constants of speak_lib.h.
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_PHONEME_EVENTS, _INITIALIZE_PHONEME_IPA = 0x0001, 0x0002
_EVENT_LIST_TERMINATED, _EVENT_PHONEME = 0, 7
_RATE, _PITCH, _RANGE = 1, 3, 4
_CHARS_UTF8 = 1


@dataclass(frozen=True)
class Phone:
    """One phoneme: IPA symbol ("" is silence), start and stop in seconds."""

    symbol: str
    start: float
    stop: float


class _EventId(ctypes.Union):
    _fields_ = [
        ("number", ctypes.c_int),
        ("name", ctypes.c_char_p),
        ("string", ctypes.c_char * 8),
    ]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    ]


_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


class _Espeak:
    """The library and what its callback collects; one per process, as the library demands."""

    def __init__(self) -> None:
        name = ctypes.util.find_library("espeak-ng")
        if name is None:
            raise UserError(
                "Synthesised training voices need libespeak-ng, which was not found: install it "
                "(Debian and Ubuntu: apt install libespeak-ng1; macOS: brew install espeak-ng)."
            )
        self.engine = ctypes.CDLL(name)
        options = _INITIALIZE_PHONEME_EVENTS | _INITIALIZE_PHONEME_IPA
        self.rate = self.engine.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, None, options)
        self.blocks: list[np.ndarray] = []
        self.marks: list[tuple[float, str]] = []
        self._callback = _CALLBACK(self._collect)  # kept: the library holds only a bare pointer
        self.engine.espeak_SetSynthCallback(self._callback)

    def _collect(self, samples, count, events) -> int:
        i = 0
        while events[i].type != _EVENT_LIST_TERMINATED:
            if events[i].type == _EVENT_PHONEME:
                symbol = events[i].id.string.decode("utf-8", "ignore")
                self.marks.append((events[i].audio_position / 1000, symbol))
            i += 1
        if samples and count > 0:
            self.blocks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0


@lru_cache(maxsize=1)
def _espeak() -> _Espeak:
    return _Espeak()


def synthesise(
    text: str, *, voice: str = "en-us", rate: int = 170, pitch: int = 50, pitch_range: int = 50
) -> tuple[np.ndarray, list[Phone]]:
    """Speak text; returns the waveform [n] float32 in [-1, 1] at 16 kHz and its phones in order.

    voice: an espeak-ng voice, a variant behind a plus sign ("de+f2"); rate: words per minute;
    pitch, pitch_range: 0..99. Raises UserError for an unknown voice.
    """
    from scipy.signal import resample_poly

    espeak = _espeak()
    espeak.blocks, espeak.marks = [], []
    if espeak.engine.espeak_SetVoiceByName(voice.encode()) != 0:
        raise UserError(f"espeak-ng has no voice named {voice!r}; `espeak-ng --voices` lists them.")
    for parameter, value in ((_RATE, rate), (_PITCH, pitch), (_RANGE, pitch_range)):
        espeak.engine.espeak_SetParameter(parameter, value, 0)
    data = text.encode()
    espeak.engine.espeak_Synth(data, len(data) + 1, 0, 0, 0, _CHARS_UTF8, None, None)
    espeak.engine.espeak_Synchronize()
    if not espeak.blocks:
        return np.zeros(0, np.float32), []
    samples = np.concatenate(espeak.blocks).astype(np.float32) / 32768
    waveform = resample_poly(samples, SAMPLE_RATE, espeak.rate).astype(np.float32)
    stops = [start for start, _ in espeak.marks[1:]] + [len(waveform) / SAMPLE_RATE]
    phones = [
        Phone(symbol.strip("ˈˌ'_: "), start, stop)
        for (start, symbol), stop in zip(espeak.marks, stops, strict=True)
    ]
    return waveform, phones
