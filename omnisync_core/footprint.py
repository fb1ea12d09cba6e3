"""How much memory a clip takes that is edited as frames in memory, and whether it is there.

Files stream and need a window at a time; frames in memory (ComfyUI's IMAGE) are held whole, several
times over. What is missing is told before the first step, not by the system in the middle.
"""

from __future__ import annotations

from pathlib import Path

from .errors import UserError

# Bytes held at once for a value of a picture: two uint8 clips (source, result) and two of float32
# (the frames shown, the result). The clip that came in is there already.
_BYTES_PER_VALUE = 2 * 1 + 2 * 4
# Left for the network and its windows: the embedded model takes 0.3 GiB.
_RESERVE = 2**29


def clip_bytes(frames: int, height: int, width: int, *, channels: int = 3) -> int:
    """What editing that many frames in memory takes, in bytes, beyond the frames that came in."""
    return frames * height * width * channels * _BYTES_PER_VALUE + _RESERVE


def free_bytes() -> int | None:
    """Memory that can be had now; None where the system does not say.

    psutil knows it on every system where it is installed (it comes with ComfyUI); Linux says it
    by itself.
    """
    try:
        import psutil
    except ImportError:
        meminfo = Path("/proc/meminfo")
        if not meminfo.exists():
            return None
        lines = meminfo.read_text().splitlines()
        return 1024 * int(next(line for line in lines if "MemAvailable" in line).split()[1])
    return psutil.virtual_memory().available


def check_memory(frames: int, height: int, width: int, *, channels: int = 3) -> int:
    """`clip_bytes`, when that much is free. Raises UserError that names what would fit."""
    need, free = clip_bytes(frames, height, width, channels=channels), free_bytes()
    if free is None or need <= free:
        return need
    each = clip_bytes(1, height, width, channels=channels) - _RESERVE
    fit = max(0, free - _RESERVE) // each
    less = f"give at most {fit} frames at once" if fit else "make the pictures smaller"
    raise UserError(
        f"Editing {frames} frames of {width} x {height} as images takes {need / 1e9:.1f} GB of "
        f"memory and {free / 1e9:.1f} GB are free; {less}, or connect the clip as a VIDEO, which "
        "streams through in little memory whatever its length."
    )
