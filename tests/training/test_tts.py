import ctypes.util
from itertools import pairwise

import numpy as np
import pytest

from omnisync_core.errors import UserError
from omnisync_core.training import tts
from omnisync_core.training.tts import SAMPLE_RATE, synthesise

spoken = pytest.mark.skipif(
    ctypes.util.find_library("espeak-ng") is None, reason="libespeak-ng is not installed"
)
VOICES = ["en-us", "de+f2", "fr", "cmn"]
TEXT = "Pepper, some butter and a mop."


@spoken
@pytest.mark.parametrize("voice", VOICES)
def test_phones_follow_each_other_and_cover_the_sound(voice: str) -> None:
    waveform, phones = synthesise(TEXT, voice=voice)
    starts, stops = [p.start for p in phones], [p.stop for p in phones]
    assert starts == sorted(starts) and stops[:-1] == starts[1:]
    assert 0 <= starts[0] < 0.2 and stops[-1] == len(waveform) / SAMPLE_RATE
    assert sum(bool(phone.symbol) for phone in phones) > 10


@spoken
def test_the_waveform_is_mono_float_and_not_silent() -> None:
    waveform, _ = synthesise(TEXT)
    assert waveform.ndim == 1 and waveform.dtype == np.float32
    assert 0.05 < np.abs(waveform).max() <= 1


@spoken
def test_a_vowel_is_louder_than_the_closure_before_it() -> None:
    waveform, phones = synthesise("apa apa apa")
    pairs = [(p, q) for p, q in pairwise(phones) if p.symbol == "p"]

    def loudness(start: float, stop: float) -> float:
        part = waveform[int(start * SAMPLE_RATE) : int(stop * SAMPLE_RATE)]
        return float(np.sqrt(np.mean(part**2)))

    assert len(pairs) == 3
    for closure, vowel in pairs:  # the first half of a p: the lips are still shut
        middle = (closure.start + closure.stop) / 2
        assert loudness(vowel.start, vowel.stop) > 3 * loudness(closure.start, middle)


@spoken
def test_the_rate_of_speech_is_kept_from_call_to_call() -> None:
    # espeak-ng carries its noise source on from call to call, so that only the lengths compare.
    fast, again, slow = (len(synthesise(TEXT, rate=rate)[0]) for rate in (180, 180, 120))
    assert again == pytest.approx(fast, rel=0.03) and slow > 1.3 * fast


@spoken
def test_no_words_make_no_phones() -> None:
    waveform, phones = synthesise("")
    assert len(waveform) == 0 or not np.any(waveform)
    assert not any(phone.symbol for phone in phones)


@spoken
def test_the_same_text_sounds_the_same_whatever_was_spoken_before() -> None:
    first, phones = synthesise("good morning", voice="en-us+f2", pitch=40)
    synthesise("etwas anderes", voice="de+m3", rate=200)
    again, same = synthesise("good morning", voice="en-us+f2", pitch=40)
    assert np.array_equal(first, again) and phones == same


@spoken
def test_an_unknown_voice_is_named() -> None:
    with pytest.raises(UserError, match="no voice named 'tlh-x'"):
        synthesise("hello", voice="tlh-x")


def test_without_the_library_the_message_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    tts._library.cache_clear()
    with pytest.raises(UserError, match="apt install libespeak-ng1"):
        synthesise("hello")
