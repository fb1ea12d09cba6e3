import os
from pathlib import Path

import numpy as np
import pytest
from media_files import ffmpeg

from omnisync_core.audio_files import read_audio, sound_input
from omnisync_core.errors import UserError

CLICK = 3000  # sample at 16 kHz


def hiss(seconds: float = 0.5, *, rate: int = 16000) -> np.ndarray:
    """Half silence, then low noise: something with one clear place in time."""
    sound = np.random.default_rng(0).standard_normal(int(seconds * rate)) * 0.2
    sound = np.convolve(sound, np.ones(8) / 4, "same").astype(np.float32)
    sound[: len(sound) // 2] = 0
    return sound


def save(path: Path, sound: np.ndarray, *options: str | Path, rate: int = 16000) -> Path:
    raw = ["-f", "f32le", "-ar", str(rate), "-ac", "1", "-i", "pipe:0"]
    ffmpeg(*raw, *options, path, feed=sound.astype("<f4").tobytes())
    return path


def lag(heard: np.ndarray, truth: np.ndarray) -> int:
    """By how many samples `heard` is late."""
    size = min(len(heard), len(truth))
    match = np.correlate(heard[:size], truth[:size], "full")
    return int(match.argmax()) - (size - 1)


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "m4a", "ogg", "opus", "mka", "aiff"])
def test_no_format_moves_the_sound(tmp_path: Path, suffix: str):
    sound = hiss()
    heard = read_audio(save(tmp_path / f"voice.{suffix}", sound))
    assert heard.dtype == np.float32 and lag(heard, sound) == 0
    assert abs(len(heard) - len(sound)) <= 1024  # one packet of the codecs that do not say


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000, 96000])
def test_any_rate_becomes_the_models(tmp_path: Path, rate: int):
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate // 2) / rate)
    heard = read_audio(save(tmp_path / "voice.wav", tone, rate=rate))
    truth = 0.5 * np.sin(2 * np.pi * 440 * np.arange(8000) / 16000)
    assert len(heard) == 8000
    np.testing.assert_allclose(heard[200:-200], truth[200:-200], atol=2e-3)


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_channels_are_averaged_not_added(channels: int):
    tone = 0.9 * np.sin(np.arange(4000) * 0.2, dtype=np.float32)
    heard = read_audio((np.stack([tone] * channels), 16000))
    np.testing.assert_allclose(heard, tone, atol=1e-4)


@pytest.mark.parametrize("shift", [0.2, -0.1])
def test_the_sound_of_a_video_starts_with_its_picture(tmp_path: Path, shift: float):
    sound = hiss(1.0)
    save(tmp_path / "voice.wav", sound)
    picture = ["-f", "lavfi", "-i", "testsrc=s=32x32:r=25:d=1", "-pix_fmt", "yuv420p"]
    ffmpeg(*picture, tmp_path / "picture.mp4")
    later = ["-itsoffset", str(max(shift, 0)), "-i", tmp_path / "voice.wav"]
    earlier = ["-itsoffset", str(max(-shift, 0)), "-i", tmp_path / "picture.mp4"]
    path = tmp_path / "both.mkv"
    ffmpeg(*later, *earlier, "-map", "1:v", "-map", "0:a", "-c:v", "copy", "-c:a", "flac", path)
    assert abs(lag(read_audio(path), sound) - shift * 16000) <= 16  # Matroska's millisecond


def test_only_the_first_track_is_heard(tmp_path: Path):
    save(tmp_path / "a.wav", hiss())
    tracks = ["-i", tmp_path / "a.wav", "-f", "lavfi", "-i", "sine=d=0.5", "-map", "0", "-map", "1"]
    ffmpeg(*tracks, tmp_path / "two.mkv")
    assert np.abs(read_audio(tmp_path / "two.mkv")[:3000]).max() < 0.01


def test_a_file_without_sound_says_so(tmp_path: Path):
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=32x32:d=0.2", tmp_path / "mute.mp4")
    with pytest.raises(UserError, match="no sound track"):
        read_audio(tmp_path / "mute.mp4")


def test_a_sound_of_no_length_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match="no length"):
        read_audio(save(tmp_path / "none.wav", np.zeros(0)))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_refused(tmp_path: Path, value: float):
    sound = hiss()
    sound[5000] = value
    with pytest.raises(UserError, match="NaN or infinite"):
        read_audio(save(tmp_path / "bad.wav", sound, "-c:a", "pcm_f32le"))
    with pytest.raises(UserError, match="NaN or infinite"):
        read_audio((sound, 16000))


def test_one_sample_is_enough():
    assert len(read_audio((np.full((1, 1), 0.5, dtype=np.float32), 16000))) == 1


def test_what_is_no_sound_file_is_refused(tmp_path: Path):
    (tmp_path / "junk.wav").write_bytes(os.urandom(5000))
    with pytest.raises(UserError, match="make sense"):
        read_audio(tmp_path / "junk.wav")


def test_a_cut_off_file_names_its_last_good_time(tmp_path: Path):
    whole = save(tmp_path / "whole.m4a", hiss(2.0), "-movflags", "+faststart")
    half = tmp_path / "half.m4a"
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size * 3 // 4])
    with pytest.raises(UserError, match=r"cut off .* after \d+\.\d+ s"):
        read_audio(half)


@pytest.mark.parametrize(
    "shape,rate", [((1, 2, 8), 16000), ((9, 8), 16000), ((2, 0), 16000), ((2, 8), 0)]
)
def test_a_waveform_of_another_shape_is_refused(shape: tuple[int, ...], rate: int):
    with pytest.raises(UserError):
        read_audio((np.zeros(shape, dtype=np.float32), rate))


def test_a_waveform_leaves_no_file_behind(tmp_path: Path):
    with sound_input((hiss(), 16000), seconds=1.0, folder=tmp_path) as sound:
        assert len(list(tmp_path.iterdir())) == 1 and "atrim=end_sample=16000" in sound.filter
    assert not list(tmp_path.iterdir())
