from pathlib import Path

import numpy as np
import pytest

from omnisync_core.errors import UserError
from omnisync_core.training import align as aligning
from omnisync_core.training.align import align, pieces, read_speech
from omnisync_core.training.flite import installed, speak
from omnisync_core.training.tts import SAMPLE_RATE, Phone
from omnisync_core.training.visemes import viseme_track

TEXT = "nobody could remember where the seven boxes of paper had been put"
with_speech = pytest.mark.skipif(not installed(), reason="libflite is not installed")


@pytest.fixture(scope="module")
def spoken() -> tuple[np.ndarray, list[Phone]]:
    pytest.importorskip("pocketsphinx")
    return speak(TEXT, voice="slt")


def _share(heard: list[Phone], said: list[Phone], samples: int) -> float:
    """Share of the 50 Hz frames with the same viseme."""
    times = np.arange(samples * 50 // SAMPLE_RATE) / 50
    return float((viseme_track(heard, times) == viseme_track(said, times)).mean())


@with_speech
def test_known_words_are_found_where_they_are_said(spoken) -> None:
    waveform, phones = spoken
    heard = align(waveform, TEXT)
    assert _share(heard, phones, len(waveform)) > 0.7
    assert _share(heard, [Phone(p.symbol, p.start + 0.2, p.stop + 0.2) for p in phones],
                  len(waveform)) < 0.5  # fmt: skip


@with_speech
def test_words_that_nobody_wrote_down_are_recognised_well_enough_for_lips(spoken) -> None:
    waveform, phones = spoken
    assert _share(align(waveform), phones, len(waveform)) > 0.6


@with_speech
def test_a_text_does_not_stay_for_the_next_sound(spoken) -> None:
    waveform, _ = spoken
    free = align(waveform)
    align(waveform, TEXT)
    assert align(waveform) == free


def test_silence_has_no_words() -> None:
    pytest.importorskip("pocketsphinx")
    assert align(np.zeros(SAMPLE_RATE, np.float32)) == []
    faint = np.random.default_rng(0).uniform(-1e-4, 1e-4, SAMPLE_RATE).astype(np.float32)
    assert align(faint) == []


@with_speech
def test_words_that_were_not_said_are_not_found_and_the_next_are(spoken) -> None:
    waveform, phones = spoken
    assert align(waveform[: SAMPLE_RATE // 2], f"{TEXT} {TEXT}") == []
    assert _share(align(waveform, TEXT), phones, len(waveform)) > 0.7


def test_words_outside_the_dictionary_are_named() -> None:
    pytest.importorskip("pocketsphinx")
    with pytest.raises(UserError, match="got qzxv: write"):
        align(np.zeros(SAMPLE_RATE, np.float32), "the qzxv")


def test_long_sounds_are_cut_where_the_voice_rests() -> None:
    sound = np.random.default_rng(0).normal(size=30 * SAMPLE_RATE).astype(np.float32)
    sound[10 * SAMPLE_RATE : int(10.4 * SAMPLE_RATE)] = 0
    parts = list(pieces(sound))
    np.testing.assert_array_equal(np.concatenate(parts), sound)
    assert max(len(part) for part in parts) <= 12 * SAMPLE_RATE
    assert 10 < len(parts[0]) / SAMPLE_RATE < 10.4


def test_a_text_beside_a_recording_is_used_and_other_languages_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wave

    for name in ("LJ1.wav", "en_a.wav", "de_b.wav"):
        with wave.open(str(tmp_path / name), "wb") as out:
            out.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
            out.writeframes(np.ones(SAMPLE_RATE, "<i2").tobytes())
    (tmp_path / "LJ1.txt").write_text("It's a Test, really.")
    asked = []
    monkeypatch.setattr(
        aligning, "align", lambda part, said: asked.append(said) or [Phone("a", 0, 1)]
    )
    found = read_speech(tmp_path)
    assert asked == ["it's a test really", ""] and len(found) == 2
    assert all(len(sound) == SAMPLE_RATE for sound, _ in found)
