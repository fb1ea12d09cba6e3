"""The lip reader that ships, and clips whose true lips nobody knows."""

from dataclasses import replace

import numpy as np
import pytest

from omnisync_core.errors import UserError
from omnisync_core.evaluation import lip_reader
from omnisync_core.evaluation.judge import SIDE, mouth_pictures
from omnisync_core.evaluation.lips import lip_figures, read

from .conftest import COUNT, draw, opening_of


def test_it_reads_a_drawn_mouth_that_opens(clip):
    opening = np.linspace(0, 1, COUNT)
    pictures = mouth_pictures(draw(opening), clip.numbers["places"], clip.numbers["sides"])
    assert pictures.shape == (COUNT, SIDE, SIDE)
    assert np.corrcoef(lip_reader.read_openings(pictures), opening)[0, 1] > 0.7


def test_brightness_and_contrast_hardly_matter(clip):
    pictures = mouth_pictures(draw(opening_of(3)), clip.numbers["places"], clip.numbers["sides"])
    dark = (pictures * 0.5 + 10).astype(np.uint8)
    apart = lip_reader.read_openings(dark) - lip_reader.read_openings(pictures)
    assert np.abs(apart).max() < 0.02


@pytest.fixture
def unknown(clip):
    """The drawn clip without anything that is known of lips; truth video and voice are there."""
    kept = ("times", "places", "sides", "centres")
    return replace(clip, numbers={name: clip.numbers[name] for name in kept})


def test_without_known_lips_the_opening_alone_is_read(unknown):
    found = read(unknown, unknown.truth)
    assert np.isfinite(found[:, 0]).all() and np.isnan(found[:, 1:]).all()
    figures = lip_figures(unknown, found[:, 0], found[:, 1:])
    assert figures["truth_r"] == pytest.approx(1) and figures["open_ratio"] == pytest.approx(1)
    assert np.isfinite(figures["sound_r"]) and np.isnan(figures["visemes"])
    assert not {"closures", "lmd", "ruler_r"} & set(figures)


def test_without_a_truth_video_there_is_nothing_to_compare_with(unknown):
    alone = replace(unknown, truth=None)
    found = read(alone, alone.source)
    figures = lip_figures(alone, found[:, 0], found[:, 1:])
    assert "truth_r" not in figures and np.isfinite(figures["sound_r"])


def test_weights_of_another_kind_are_refused(tmp_path):
    (tmp_path / "reader.safetensors").write_bytes(b"none")
    with pytest.raises(UserError, match="holds no lip reader"):
        lip_reader.load_lip_reader(tmp_path / "reader.safetensors")
