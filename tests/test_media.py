"""The media layer as a whole, on real clips; OMNISYNC_DATA: a folder with clips/ and speech/."""

import os
from pathlib import Path

import numpy as np
import pytest

from omnisync_core.media import FrameWriter, probe_video, read_audio, read_frames

DATA = os.environ.get("OMNISYNC_DATA")
CLIPS = sorted((Path(DATA) / "clips" / "dev").glob("*.mp4")) if DATA else []
VOICES = sorted((Path(DATA) / "speech" / "dev").iterdir()) if DATA else []

pytestmark = pytest.mark.skipif(not CLIPS or not VOICES, reason="OMNISYNC_DATA is not set")


@pytest.mark.parametrize("number", range(len(CLIPS)), ids=[clip.stem for clip in CLIPS])
def test_a_real_clip_comes_back_with_its_frames_times_and_size(tmp_path: Path, number: int):
    clip, voice = CLIPS[number], VOICES[number % len(VOICES)]
    info, output = probe_video(clip), tmp_path / "out.mp4"
    times = info.times if info.variable_rate else None
    size = {"width": info.width, "height": info.height, "rate": info.rate, "times": times}
    with FrameWriter(
        output, **size, audio=voice, seconds=info.duration, display=info.display
    ) as writer:
        for frame in read_frames(clip, info=info):
            writer.write(frame)
    result = probe_video(output)
    assert (result.width, result.height, result.frames) == (info.width, info.height, info.frames)
    assert (result.rate, result.display) == (info.rate, info.display)
    np.testing.assert_allclose(result.times, info.times, atol=1e-6)
    assert abs(len(read_audio(output)) / 16000 - info.duration) < 1e-3
