"""Phone times of real English speech, by pocketsphinx.

In: a waveform [n] (mono, 16 kHz) and, where they are known, its words. Out: phones with times, as
tts.py and flite.py give them. Without words pocketsphinx first recognises some; what it mishears
sounds much like what was said, which is all that lips need. Needs the extra `train`; the acoustic
model, dictionary and language model (English, BSD) come inside the package.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from .flite import IPA
from .tts import SAMPLE_RATE, Phone

_FRAME = 0.01  # pocketsphinx counts frames of 10 ms
# The dictionary writes AH for the vowels of "but" and "the"; the second is the short one.
_SCHWA = 0.09
_FAINT = 1e-3  # the loudest sample; below it the decoder hears a hum in silence
# Seconds: pieces long enough for context, cut where the voice rests.
_LONGEST, _REST = 12.0, 0.2


@lru_cache(maxsize=1)
def _decoder() -> Any:
    try:
        from pocketsphinx import Decoder
    except ImportError:
        raise UserError(
            'Aligning real speech needs pocketsphinx, which was not found: pip install ".[train]".'
        ) from None
    return Decoder(samprate=float(SAMPLE_RATE), loglevel="FATAL")


def _heard(decoder: Any, data: bytes) -> bool:
    """Let the decoder hear a sound; False where its words do not fit."""
    decoder.start_utt()
    decoder.process_raw(data, full_utt=True)
    try:
        decoder.end_utt()
    except RuntimeError:  # its way to say so
        return False
    return True


def align(waveform: np.ndarray, words: str = "") -> list[Phone]:
    """Phones of a waveform [n] in [-1, 1] at 16 kHz, up to about 30 s; silences have symbol "".

    words: what is said, in lower case without punctuation; nothing means that it is to be
    recognised. Empty where no words can be found in the sound. Raises UserError for words that are
    not in pocketsphinx's dictionary and where pocketsphinx is missing.
    """
    decoder = _decoder()
    if unknown := [word for word in words.split() if decoder.lookup_word(word) is None]:
        raise UserError(
            f"Expected English words of pocketsphinx's dictionary, got {', '.join(unknown)}: write "
            "numbers out and drop punctuation, or leave the words away to have them recognised."
        )
    if np.abs(waveform).max(initial=0) < _FAINT:
        return []
    data = (np.clip(waveform, -1, 1) * 32767).astype("<i2").tobytes()
    if words:
        decoder.set_align_text(words)
    else:
        decoder.activate_search()
    if not _heard(decoder, data) or decoder.hyp() is None:
        return []
    decoder.set_alignment()  # from here on hyp() would crash: it has none, and does not say so
    if not _heard(decoder, data):
        return []
    phones = []
    for word in decoder.get_alignment():
        for phone in word:
            start, stop = _FRAME * phone.start, _FRAME * (phone.start + phone.duration)
            symbol = IPA.get(phone.name.lower(), "")  # SIL and noises are no phones
            phones.append(
                Phone("ə" if symbol == "ʌ" and stop - start < _SCHWA else symbol, start, stop)
            )
    return phones


def pieces(waveform: np.ndarray) -> Iterator[np.ndarray]:
    """A long waveform [n] at 16 kHz in pieces of at most 12 s, cut in the quietest place of the
    second half of each."""
    hop, rest = SAMPLE_RATE // 100, round(100 * _REST)
    while len(waveform) > _LONGEST * SAMPLE_RATE:
        head = waveform[: int(_LONGEST * SAMPLE_RATE)]
        energy = (head.reshape(-1, hop) ** 2).mean(1)
        level = np.convolve(energy, np.ones(rest), "same")
        half = len(level) // 2
        cut = hop * (half + int(level[half:-rest].argmin()))
        yield waveform[:cut]
        waveform = waveform[cut:]
    yield waveform


def read_speech(folder: Path) -> list[tuple[np.ndarray, list[Phone]]]:
    """The English recordings of a folder (LJ*, en_*): pieces [n] at 16 kHz with their phones.

    A recording is aligned with the text beside it (NAME.txt) if there is one and it is no longer
    than a piece; else its words are recognised. Others are left out: no model for them ships.
    """
    from ..media import read_audio

    found = []
    for path in sorted([*folder.glob("LJ*"), *folder.glob("en_*")]):
        if path.suffix == ".txt":
            continue
        parts, text = list(pieces(read_audio(path, rate=SAMPLE_RATE))), path.with_suffix(".txt")
        said = " ".join(re.findall(r"[a-z']+", text.read_text().lower())) if text.exists() else ""
        for part in parts:
            if phones := align(part, said if len(parts) == 1 else ""):
                found.append((part, phones))
    return found
