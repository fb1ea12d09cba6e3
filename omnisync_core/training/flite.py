"""A second speech engine: English voices of libflite, with exact phoneme times.

Text in, waveform [n] float32 (mono, 16 kHz) and phones out, as in tts.py. Flite makes its sound of
recordings of people where espeak-ng makes it of formants, so that nothing is learnt which only one
of them does. Its utterances tell when each segment ends. Optional: a system package (Debian:
libflite1); training goes without where it is not installed.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from functools import lru_cache

import numpy as np

from ..errors import UserError
from .tts import SAMPLE_RATE, Phone

VOICES = ("rms", "slt", "awb")
"""A man, a woman, a Scot. The diphone voice kal16 is left out: its segment times drift by 5 %."""
# Flite's phones (the radio phone set) in IPA; silences are "".
_PHONES = (
    "pau= ssil= aa=ɑ ae=æ ah=ʌ ao=ɔ aw=aʊ ax=ə axr=ɚ ay=aɪ b=b ch=tʃ d=d dh=ð dx=ɾ eh=ɛ el=l "
    "em=m en=n er=ɝ ey=eɪ f=f g=ɡ hh=h hv=h ih=ɪ iy=i jh=dʒ k=k l=l m=m n=n ng=ŋ nx=ɾ ow=oʊ "
    "oy=ɔɪ p=p r=ɹ s=s sh=ʃ t=t th=θ uh=ʊ uw=u v=v w=w y=j z=z zh=ʒ"
)
IPA = {name: ipa for name, _, ipa in (word.partition("=") for word in _PHONES.split(" "))}


class _Wave(ctypes.Structure):
    """cst_wave of flite's cst_wave.h."""

    _fields_ = [
        ("type", ctypes.c_char_p),
        ("sample_rate", ctypes.c_int),
        ("num_samples", ctypes.c_int),
        ("num_channels", ctypes.c_int),
        ("samples", ctypes.POINTER(ctypes.c_short)),
    ]


class _Voice(ctypes.Structure):
    """The beginning of cst_voice of flite's cst_voice.h."""

    _fields_ = [("name", ctypes.c_char_p), ("features", ctypes.c_void_p)]


def installed() -> bool:
    """Whether libflite and its voices are here."""
    names = ("flite", *(f"flite_cmu_us_{voice}" for voice in VOICES))
    return all(ctypes.util.find_library(name) for name in names)


@lru_cache(maxsize=1)
def _flite() -> ctypes.CDLL:
    name = ctypes.util.find_library("flite")
    if name is None:
        raise UserError(
            "This voice needs libflite, which was not found: install it (Debian and Ubuntu: "
            "apt install libflite1)."
        )
    library = ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)  # the voices' libraries lean on it
    pointer, text = ctypes.c_void_p, ctypes.c_char_p
    for function, result, arguments in (
        ("flite_synth_text", pointer, (text, pointer)),
        ("utt_wave", ctypes.POINTER(_Wave), (pointer,)),
        ("utt_relation", pointer, (pointer, text)),
        ("relation_head", pointer, (pointer,)),
        ("item_next", pointer, (pointer,)),
        ("item_feat_string", text, (pointer, text)),
        ("item_feat_float", ctypes.c_float, (pointer, text)),
        ("feat_set_float", None, (pointer, text, ctypes.c_float)),
        ("delete_utterance", None, (pointer,)),
    ):
        found = getattr(library, function)
        found.restype, found.argtypes = result, arguments
    library.flite_init()
    return library


@lru_cache(maxsize=len(VOICES))
def _voice(name: str) -> ctypes.c_void_p:
    _flite()
    library = ctypes.CDLL(ctypes.util.find_library(f"flite_cmu_us_{name}"))
    register = getattr(library, f"register_cmu_us_{name}")
    register.restype, register.argtypes = ctypes.c_void_p, (ctypes.c_char_p,)
    return ctypes.c_void_p(register(None))


def speak(text: str, *, voice: str = "slt", stretch: float = 1.0) -> tuple[np.ndarray, list[Phone]]:
    """Speak English text; returns the waveform [n] float32 in [-1, 1] at 16 kHz and its phones.

    voice: one of VOICES; stretch: duration, 1 is the voice's own. Raises UserError for an unknown
    voice and where libflite is missing.
    """
    from scipy.signal import resample_poly

    if voice not in VOICES:
        raise UserError(f"flite has no voice named {voice!r}; there are {', '.join(VOICES)}.")
    flite, chosen = _flite(), _voice(voice)
    features = ctypes.cast(chosen, ctypes.POINTER(_Voice)).contents.features
    flite.feat_set_float(features, b"duration_stretch", stretch)
    utterance = flite.flite_synth_text(text.encode("ascii", "ignore"), chosen)
    try:
        wave = flite.utt_wave(utterance).contents
        samples = np.ctypeslib.as_array(wave.samples, (wave.num_samples,)).astype(np.float32)
        ends = []
        item = flite.relation_head(flite.utt_relation(utterance, b"Segment"))
        while item:
            name = flite.item_feat_string(item, b"name").decode()
            ends.append((IPA[name], flite.item_feat_float(item, b"end")))
            item = flite.item_next(item)
        rate = wave.sample_rate
    finally:
        flite.delete_utterance(utterance)
    waveform = samples / 32768
    if rate != SAMPLE_RATE:
        waveform = resample_poly(waveform, SAMPLE_RATE, rate).astype(np.float32)
    starts = [0.0, *(end for _, end in ends)]
    phones = [Phone(symbol, start, end) for (symbol, end), start in zip(ends, starts, strict=False)]
    return waveform, phones
