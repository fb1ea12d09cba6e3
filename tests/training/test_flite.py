import ctypes.util
from itertools import pairwise

import numpy as np
import pytest

from omnisync_core.errors import UserError
from omnisync_core.training import flite, voice
from omnisync_core.training.flite import VOICES, installed, speak
from omnisync_core.training.tts import SAMPLE_RATE, Phone
from omnisync_core.training.visemes import viseme_class

spoken = pytest.mark.skipif(not installed(), reason="libflite is not installed")
TEXT = "Pepper, some butter and a mop."


@spoken
@pytest.mark.parametrize("name", VOICES)
def test_phones_follow_each_other_and_cover_the_sound(name: str) -> None:
    waveform, phones = speak(TEXT, voice=name)
    assert waveform.dtype == np.float32 and 0.05 < np.abs(waveform).max() <= 1
    starts, stops = [p.start for p in phones], [p.stop for p in phones]
    assert starts == sorted(starts) and stops[:-1] == starts[1:] and starts[0] == 0
    assert stops[-1] == pytest.approx(len(waveform) / SAMPLE_RATE, abs=0.03)
    symbols = [phone.symbol for phone in phones if phone.symbol]
    assert symbols[0] == "p" and symbols[-1] == "p" and symbols.count("m") >= 2


@spoken
def test_a_vowel_is_louder_than_the_closure_before_it() -> None:
    waveform, phones = speak("apa apa apa", voice="rms")
    pairs = [(p, q) for p, q in pairwise(phones) if p.symbol == "p" and q.symbol]

    def loudness(start: float, stop: float) -> float:
        part = waveform[int(start * SAMPLE_RATE) : int(stop * SAMPLE_RATE)]
        return float(np.sqrt(np.mean(part**2)))

    assert len(pairs) == 3
    for closure, vowel in pairs:
        middle = (closure.start + closure.stop) / 2
        assert loudness(vowel.start, vowel.stop) > 2 * loudness(closure.start, middle)


@spoken
def test_stretching_makes_speech_longer_and_is_forgotten_afterwards() -> None:
    plain, slow, again = (len(speak(TEXT, stretch=s)[0]) for s in (1.0, 1.5, 1.0))
    assert slow > 1.3 * plain and again == plain


@spoken
def test_no_words_make_no_phones() -> None:
    assert not any(phone.symbol for phone in speak("")[1])


@spoken
def test_training_hears_both_engines_and_keeps_one_voice_for_judging(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    monkeypatch.setattr(voice, "random_text", lambda rng, locale: TEXT)
    one = np.zeros(SAMPLE_RATE, np.float32), [Phone("a", 0, 1)]
    monkeypatch.setattr(voice, "synthesise", lambda text, **_: said.append("espeak") or one)
    monkeypatch.setattr(voice, "speak", lambda text, voice, **_: said.append(voice) or one)
    rng = np.random.default_rng(0)
    for _ in range(200):
        voice.synthesise_utterance(rng)
    assert set(said) == {"espeak", "rms", "slt"}
    said.clear()
    for _ in range(200):
        voice.synthesise_utterance(rng, variants=voice.HELD_OUT_VARIANTS)
    assert set(said) == {"espeak", "awb"}


def test_every_phone_has_a_mouth_shape_and_silence_the_rest() -> None:
    names = {name: viseme_class(symbol) for name, symbol in flite.IPA.items()}
    assert {name for name, shape in names.items() if shape == 0} == {"pau", "ssil"}
    assert names["p"] == names["b"] == names["m"] and names["f"] == names["v"]
    assert names["ch"] == names["sh"] != names["t"]


def test_an_unknown_voice_and_a_missing_library_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="no voice named 'hal'"):
        speak(TEXT, voice="hal")
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    assert not installed()
    flite._flite.cache_clear()
    with pytest.raises(UserError, match="apt install libflite1"):
        flite._flite()
