"""Self-bootstrapping: real pairs made by the model that is being trained.

In: a training folder with packed takes (prepare.py), and weights. Every take that has a sound is
dubbed by the weights with the voice of another take; the pack gets the result as `edited.npy`. In
training the real picture is the target and the dubbed one its source: aligned to the pixel in pose,
with other lips and without a transplant's seam. The target stays real, so a model can teach its
successor without teaching its own blur.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..config import SyncOptions
from ..model import OmniSync
from ..pipeline import sync_frames
from ..progress import Summary
from .pairs import RATE, load_shard, save_shard
from .real import MARGIN
from .talking import Verdict


def bootstrap(out: Path, model: OmniSync) -> Iterator[Verdict]:
    """Dub every heard take in folder `out`, and yield what became of each.

    A pack replaces its old one once all of it is dubbed: an interrupted run goes on with the packs
    that are left. Other weights start anew in a folder prepared anew.
    """
    for path in sorted(out.glob("real_*")):
        pack = load_shard(path)
        if "edited" in pack:
            continue
        names = [str(name) for name in pack["names"]]
        sounds = out / f"sounds_{path.name.removeprefix('real_')}.npz"
        if not sounds.exists() or len(names) < 2:
            yield Verdict(path.name, False, "not dubbed: it has no sound, or no other take's voice")
            continue
        voices = np.load(sounds)
        edited = np.empty(pack["crops"].shape, np.uint8)
        for i, name in enumerate(names):
            # Half the pack away: its neighbours may say the same, or be the same person.
            other = names[(i + len(names) // 2) % len(names)]
            edited[i], seen = _dub(model, pack["crops"][i], voices[other])
            yield Verdict(name, seen == len(edited[i]), f"dubbed with the voice of {other}")
        save_shard(path, {**pack, "edited": edited})


def _dub(model: OmniSync, crops: np.ndarray, sound: np.ndarray) -> tuple[np.ndarray, int]:
    """Packed crops uint8 [f s s 3] with the lips of a sound int16 [n], and how many changed."""
    side = crops.shape[1]
    shown = round(side / MARGIN)
    left = (side - shown) // 2
    summary = Summary()
    edited = sync_frames(
        model,
        np.asarray(crops),
        sound.astype(np.float32) / 32767,
        np.arange(len(crops)) / RATE,
        options=SyncOptions(region=f"{left},{left},{shown},{shown}"),
        summary=summary,
    )
    return edited, summary.edited
