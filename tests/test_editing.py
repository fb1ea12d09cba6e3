from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import omnisync_core
from omnisync_core import editing
from omnisync_core.config import SyncOptions
from omnisync_core.editing import edit_frames
from omnisync_core.errors import UserError
from omnisync_core.media import read_frames
from omnisync_core.model import OmniSync
from omnisync_core.pipeline import sync_frames, track_mouth
from omnisync_core.progress import Summary
from omnisync_core.region import Box, Tracking

QUICK = SyncOptions(steps=2, region="12,4,40,40", window=4, overlap=2)
VOICE = np.sin(np.arange(8000) * 0.2).astype(np.float32) * np.linspace(0, 1, 8000, dtype=np.float32)
TIMES = np.arange(9) / 25


def run(model: OmniSync, frames: np.ndarray) -> np.ndarray:
    return sync_frames(model, frames, VOICE, TIMES, options=QUICK)


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
)
def test_when_memory_runs_out_fewer_frames_are_edited_at_once(model, frames, monkeypatch, error):
    real, sizes = editing.edit_window, []

    def small(model, source, *rest, **options):
        sizes.append(len(source))
        if len(source) > 2:
            raise error
        return real(model, source, *rest, **options)

    monkeypatch.setattr(editing, "edit_window", small)
    whole, summary = run(model, frames), Summary()
    assert len(whole) == len(frames) and (whole != frames).any(axis=(1, 2, 3)).all()
    sizes.clear()
    sync_frames(model, frames, VOICE, TIMES, options=QUICK, summary=summary)
    assert summary.halved == 1 and sizes.count(4) == 1  # it remembers


def test_too_little_memory_for_one_frame_is_said(model, frames, monkeypatch):
    def none(*_, **__):
        raise MemoryError

    monkeypatch.setattr(editing, "edit_window", none)
    with pytest.raises(UserError, match="single frame"):
        run(model, frames)


def test_another_error_is_not_taken_for_want_of_memory(model, frames, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(editing, "edit_window", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        run(model, frames)


def test_what_covers_the_mouth_stays_in_front_of_the_edit(model):
    clip = Path(omnisync_core.__file__).parent / "demo" / "character.mp4"
    shown = np.stack(list(read_frames(clip, stop=6)))
    box = track_mouth(shown, TIMES[:6]).track[0]
    assert box is not None
    x, y, side = int(box.cx), int(box.cy), int(box.side)
    covered = np.zeros(shown.shape[1:3], bool)
    covered[y - side // 16 : y + side // 2, x : x + side // 4] = True
    shown[2:, covered] = (30, 60, 160)
    options = replace(QUICK, region="auto", overlap=0)
    change = {}
    for occlusion in ("off", "auto"):
        summary = Summary()
        edited = sync_frames(
            model,
            shown,
            VOICE,
            TIMES[:6],
            options=replace(options, occlusion=occlusion),
            summary=summary,
        )
        difference = np.abs(edited.astype(int) - shown)[2:].mean((0, 3))
        change[occlusion] = difference[covered].mean(), difference[~covered].sum()
    assert change["auto"][0] < 0.1 * change["off"][0]
    assert change["auto"][1] > 0.5 * change["off"][1]  # the rest of the mouth is edited
    assert summary.occluded == 4


def test_no_more_than_a_window_of_frames_is_held(model, frames):
    taken = 0

    def source() -> Iterator[np.ndarray]:
        nonlocal taken
        for i in range(24):
            taken += 1
            yield frames[i % 9]

    times = np.arange(24) / 25
    audio = model.encode_audio(torch.from_numpy(VOICE), torch.from_numpy(times))
    tracking = Tracking([Box(32, 24, 40)] * 24)
    held = []
    for given, _ in enumerate(edit_frames(model, source(), tracking, audio, options=QUICK)):
        held.append(taken - given)
    assert len(held) == 24 and max(held) <= QUICK.window
