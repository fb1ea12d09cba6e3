import subprocess
import sys
from pathlib import Path

import pytest

from omnisync_core import footprint
from omnisync_core.errors import UserError
from omnisync_core.footprint import check_memory, clip_bytes, free_bytes


def test_what_is_free_is_told_here():
    free = free_bytes()
    assert free is None or 2**20 < free < 2**50


def test_a_short_clip_is_taken_and_its_need_told():
    assert check_memory(2, 48, 64) == clip_bytes(2, 48, 64)


def test_a_clip_that_does_not_fit_is_refused_with_the_number_that_does(monkeypatch):
    monkeypatch.setattr(footprint, "free_bytes", lambda: 8 * 10**9)
    with pytest.raises(
        UserError, match=r"18\.[0-9] GB of memory and 8\.0 GB.* at most (\d+) frames"
    ) as told:
        check_memory(286, 1080, 1920)
    fit = int(str(told.value).split("at most ")[1].split()[0])
    check_memory(fit, 1080, 1920)
    with pytest.raises(UserError):
        check_memory(fit + 1, 1080, 1920)


def test_where_not_one_picture_fits_smaller_ones_are_asked_for(monkeypatch):
    monkeypatch.setattr(footprint, "free_bytes", lambda: 10**6)
    with pytest.raises(
        UserError, match="make the pictures smaller, or connect the clip as a VIDEO"
    ):
        check_memory(1, 1080, 1920)


def test_where_the_system_does_not_say_the_clip_is_taken(monkeypatch):
    monkeypatch.setattr(footprint, "free_bytes", lambda: None)
    assert check_memory(10**6, 1080, 1920) == clip_bytes(10**6, 1080, 1920)


_EDIT = """
import sys
import numpy as np, torch
from omnisync_core.config import SyncOptions, preset
from omnisync_core.footprint import clip_bytes
from omnisync_core.model import OmniSync
from omnisync_core.pipeline import sync_frames

def peak():  # not getrusage, whose maximum counts the parent from before exec as well
    lines = open("/proc/self/status").read().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])

model = OmniSync(preset("mini", width=12, heads=1, depth=1, crop=24, audio_width=12, audio_heads=1))
options = SyncOptions(region=sys.argv[1])
times, voice = np.arange(400) / 25, np.zeros(16000, np.float32)
few = np.zeros((4, 32, 32, 3), np.uint8)
sync_frames(model, few, voice, times[:4], options=SyncOptions(region="full", window=4, overlap=0))
images = torch.zeros(400, 120, 200, 3)
before = peak()
frames = (images * 255).byte().numpy()
shown = images.clone()
result = sync_frames(model, frames, voice, times, options=options)
back = shown.clone()
assert peak() - before < clip_bytes(*images.shape[:3])
assert peak() - before > 0.5 * (clip_bytes(*images.shape[:3]) - clip_bytes(0, 1, 1))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_no_more_is_taken_than_was_told(tmp_path: Path):
    (tmp_path / "boxes.json").write_text(str([None] * 400).replace("None", "null"))
    subprocess.run([sys.executable, "-c", _EDIT, str(tmp_path / "boxes.json")], check=True)
