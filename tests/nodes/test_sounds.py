"""nodes/sounds.py: any sound that another node hands over."""

from collections.abc import Mapping

import numpy as np
import pytest
import torch


@pytest.fixture
def sounds(pack):
    from omnisync_pack.nodes import sounds

    return sounds


class LazyAudio(Mapping):
    """A mapping that is not a dict, like VideoHelperSuite's."""

    def __init__(self, audio):
        self.audio = audio

    def __getitem__(self, key):
        return self.audio[key]

    def __iter__(self):
        return iter(self.audio)

    def __len__(self):
        return len(self.audio)


def test_any_mapping_is_a_sound(sounds, audio):
    samples, rate = sounds.audio_to_core(LazyAudio(audio))
    assert samples.dtype == np.float32 and samples.shape == (2, 11025) and rate == 44100


def test_integer_samples_of_one_row_are_split_by_the_length_of_the_picture(sounds):
    left, right = torch.full((1000,), 16384), torch.full((1000,), -8192)
    row = torch.stack([left, right], 1).flatten().to(torch.int16)
    sound = {"waveform": row[None, None], "sample_rate": 1000}
    samples, _ = sounds.audio_to_core(sound, seconds=1.0)
    assert samples.shape == (2, 1000)
    assert samples[:, 0].tolist() == [0.5, -0.25]


@pytest.mark.parametrize(
    ("audio", "told"),
    [
        (None, "no sound"),
        ([1, 2], "got list"),
        ({"waveform": torch.zeros(1, 1, 9)}, "got dict"),
        ({"waveform": torch.zeros(2, 1, 9), "sample_rate": 8000}, r"\(2, 1, 9\)"),
        ({"waveform": torch.zeros(1, 1, 0), "sample_rate": 8000}, "some length"),
        ({"waveform": torch.full((1, 1, 9), torch.nan), "sample_rate": 8000}, "NaN"),
    ],
)
def test_what_is_no_sound_is_refused(sounds, audio, told):
    with pytest.raises(ValueError, match=f"audio: .*{told}"):
        sounds.audio_to_core(audio)


def test_a_waveform_is_mixed_and_resampled(sounds, audio):
    waveform = sounds.waveform(audio)
    assert waveform.shape == (4000,) and waveform.dtype == np.float32
