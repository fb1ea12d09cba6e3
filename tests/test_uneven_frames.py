import subprocess

import imageio_ffmpeg
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnisync_core.uneven_frames import clock_of, frame_header, stream_header


def test_ffmpeg_reads_the_frames_and_their_times():
    frames = np.random.default_rng(0).integers(0, 256, (3, 5, 7, 3), dtype=np.uint8)
    stream = stream_header(7, 5)
    for frame, time in zip(frames, [0.0, 0.25, 1.000001], strict=True):
        stream += frame_header(time, 0.1, size=frame.nbytes) + frame.tobytes()
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "info", "-f", "matroska", "-i", "pipe:0"]
    command += ["-fps_mode", "passthrough", "-vf", "showinfo", "-f", "rawvideo", "pipe:1"]
    run = subprocess.run(command, input=stream, capture_output=True, check=True)
    assert run.stdout == frames.tobytes()
    for stamp in (b"pts:      0 ", b"pts:250000000 ", b"pts:1000001000 "):
        assert stamp in run.stderr


@pytest.mark.parametrize("clock", [1000, 12800, 15360, 30000, 90000, 600, 44100])
def test_the_clock_of_a_file_is_found_again(clock: int):
    ticks = np.cumsum([0, 40, 43, 1, 90, 7])
    found = clock_of(ticks / clock)
    np.testing.assert_allclose(ticks / clock * found, np.round(ticks / clock * found), atol=1e-6)
    assert found <= 1_000_000


@given(st.lists(st.floats(1e-4, 10), min_size=1, max_size=20))
def test_arbitrary_times_are_rounded_by_half_a_microsecond_at_most(gaps: list[float]):
    times = np.concatenate([[0.0], np.cumsum(gaps)])
    clock = clock_of(times)
    assert 10_000 <= clock <= 1_000_000
    assert np.abs(np.round(times * clock) / clock - times).max() <= 0.5001e-6
