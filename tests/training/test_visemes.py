import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnisync_core.training.tts import Phone
from omnisync_core.training.visemes import (
    ARTICULATORS,
    VISEME_NAMES,
    articulation,
    expression_weights,
    viseme_class,
    viseme_track,
)

JAW, PUCKER, PRESS = (ARTICULATORS.index(name) for name in ("jaw", "pucker", "press"))
_PHONES = st.lists(
    st.tuples(st.sampled_from(["", "p", "m", "f", "s", "k", "w", "a", "aɪ", "uː", "tʃ"]),
              st.floats(0.01, 0.4)),
    max_size=12,
)  # fmt: skip


def _spoken(*sounds: tuple[str, float]) -> list[Phone]:
    """Phones one after the other from their symbols and lengths in seconds."""
    stops = np.cumsum([length for _, length in sounds])
    return [
        Phone(symbol, float(stop - length), float(stop))
        for (symbol, length), stop in zip(sounds, stops, strict=True)
    ]


@pytest.mark.parametrize("rate", [25, 29.97, 50, 100])
@pytest.mark.parametrize("length", [0.05, 0.09])
@pytest.mark.parametrize("closing", "pbm")
@pytest.mark.parametrize("vowel", ["a", "i", "u", "s"])
def test_the_lips_meet_whatever_the_neighbours_and_the_frame_rate(
    vowel: str, closing: str, length: float, rate: float
) -> None:
    phones = _spoken((vowel, 0.3), (closing, length), (vowel, 0.3))
    times = np.arange(int(0.6 * rate)) / rate
    during = (times >= 0.3) & (times < 0.3 + length)
    assert (articulation(phones, times)[during, PRESS] > 0.99).all()


def test_the_lips_part_for_a_vowel() -> None:
    curves = articulation(_spoken(("p", 0.1), ("a", 0.3), ("m", 0.1)), np.array([0.25]))
    assert curves[0, PRESS] < 0.1 and curves[0, JAW] > 0.4


def test_lips_round_before_a_rounded_vowel_begins() -> None:
    times = np.array([0.18])  # still in the k, which leaves the lips to its neighbours
    rounded, spread = (
        articulation(_spoken(("", 0.1), ("k", 0.1), (vowel, 0.3)), times)[0, PUCKER]
        for vowel in "ui"
    )
    assert rounded > spread + 0.2


@given(phones=_PHONES, rate=st.sampled_from([10, 25, 60]))
def test_curves_stay_between_zero_and_one(phones: list[tuple[str, float]], rate: int) -> None:
    curves = articulation(_spoken(*phones), np.arange(-5, 3 * rate) / rate)
    assert curves.dtype == np.float32 and curves.shape[1] == len(ARTICULATORS)
    assert curves.min() >= 0 and curves.max() <= 1


def test_the_mouth_rests_before_and_after_the_words() -> None:
    curves = articulation(_spoken(("a", 0.2)), np.array([-2.0, 3.0]))
    np.testing.assert_allclose(curves, articulation([], np.array([0.0, 1.0])), atol=1e-5)
    assert curves[:, JAW].max() < 0.05


def test_a_diphthong_is_shared_between_its_two_vowels() -> None:
    track = viseme_track(_spoken(("aɪ", 0.2)), np.arange(20) / 100)
    assert [VISEME_NAMES[i] for i in track] == ["ah"] * 12 + ["ee"] * 8


def test_a_long_vowel_is_not_shared() -> None:
    assert len(set(viseme_track(_spoken(("uː", 0.2)), np.arange(20) / 100))) == 1


def test_the_track_rests_outside_the_phones() -> None:
    track = viseme_track(_spoken(("f", 0.1)), np.array([-0.01, 0.05, 0.1, 5.0]))
    assert [VISEME_NAMES[i] for i in track] == ["rest", "fv", "rest", "rest"]


@pytest.mark.parametrize(
    ("symbol", "name"),
    [
        ("", "rest"),
        ("b", "pbm"),
        ("tʃ", "sh"),
        ("ts", "sz"),
        ("t", "td"),
        ("uː", "oo"),
        ("¿", "kg"),
    ],
)
def test_every_symbol_has_a_mouth(symbol: str, name: str) -> None:
    assert VISEME_NAMES[viseme_class(symbol)] == name


def test_closed_lips_open_no_jaw() -> None:
    curves = np.ones((1, len(ARTICULATORS)), np.float32)  # everything pulls, but the lips are shut
    names = ["jawOpen", "mouthLowerDown_L", "mouthUpperUp_R", "mouthFunnel", "mouthPress_L"]
    jaw, lower, upper, funnel, press = expression_weights(curves, names)[0]
    assert jaw < 0.06 and (lower, upper, funnel) == (0, 0, 0) and press > 0.5


def test_both_sides_move_alike_and_unknown_expressions_not_at_all() -> None:
    curves = articulation(_spoken(("a", 0.2), ("i", 0.2)), np.arange(40) / 100)
    left, right, blink = expression_weights(
        curves, ["mouthSmile_L", "mouthSmile_R", "eyeBlink_L"]
    ).T
    assert left.max() > 0 and np.array_equal(left, right) and not blink.any()


def test_a_mumbling_speaker_opens_less_but_still_closes() -> None:
    curves = articulation(_spoken(("a", 0.2), ("m", 0.1)), np.array([0.1, 0.25]))
    names = ["jawOpen", "mouthPress_L"]
    clear, mumbled = (expression_weights(curves, names, strength=s) for s in (1.0, 0.7))
    assert mumbled[0, 0] < 0.8 * clear[0, 0] and mumbled[1, 1] == clear[1, 1]
