"""Raw frames that carry their own times to ffmpeg (used where the frame rate varies).

In: RGB frame sizes, times and durations. Out: the bytes that go before each frame, so that the pipe
is a Matroska stream of uncompressed pictures; a raw-video pipe knows one fixed rate only. Matroska
because its shortest form is these few elements (RFC 9559) and its clock can be set to 1 ns.
"""

from __future__ import annotations

from fractions import Fraction
from math import lcm

import numpy as np

# Ticks per second where the times fit no coarser clock: rounds by half a microsecond at most.
_FINEST_CLOCK = 1_000_000
# Doubled up to this, as ffmpeg's mp4 muxer does, so that durations round well too.
_COARSEST_CLOCK = 10_000


def stream_header(width: int, height: int) -> bytes:
    """What comes before the first frame: one track of uint8 RGB pictures, clock of 1 ns."""
    ebml = [(0x4286, 1), (0x42F7, 1), (0x42F2, 4), (0x42F3, 8)]
    head = b"".join(_element(key, _number(value)) for key, value in ebml)
    head += _element(0x4282, b"matroska") + _element(0x4287, _number(4))
    head += _element(0x4285, _number(2))
    names = _element(0x4D80, b"omnisync") + _element(0x5741, b"omnisync")
    info = _element(0x2AD7B1, _number(1)) + names
    picture = _element(0xB0, _number(width)) + _element(0xBA, _number(height))
    picture += _element(0x2EB524, b"RGB\x18")
    track = _element(0xD7, _number(1)) + _element(0x73C5, _number(1)) + _element(0x83, _number(1))
    track += _element(0x86, b"V_UNCOMPRESSED") + _element(0xE0, picture)
    endless = _key(0x18538067) + b"\x01" + b"\xff" * 7
    tracks = _element(0x1654AE6B, _element(0xAE, track))
    return _element(0x1A45DFA3, head) + endless + _element(0x1549A966, info) + tracks


def frame_header(time: float, duration: float, *, size: int) -> bytes:
    """What comes before one frame of `size` bytes: it appears at `time` for `duration` seconds."""
    lasts = _element(0x9B, _number(round(duration * 1e9)))
    block = b"\x81\x00\x00\x00"  # track 1, at the cluster's own time, no flags
    opened = _key(0xA1) + _size(len(block) + size) + block
    group = _key(0xA0) + _size(len(lasts) + len(opened) + size) + lasts + opened
    start = _element(0xE7, _number(round(time * 1e9)))
    return _key(0x1F43B675) + _size(len(start) + len(group) + size) + start + group


def clock_of(times: np.ndarray) -> int:
    """Ticks per second of a clock that meets all `times` (seconds from 0) exactly, if one does."""
    clock = 1
    for time in times.tolist():
        clock = lcm(clock, Fraction(time).limit_denominator(_FINEST_CLOCK).denominator)
        if clock > _FINEST_CLOCK:
            return _FINEST_CLOCK
    while clock < _COARSEST_CLOCK:
        clock *= 2
    return clock


def _key(key: int) -> bytes:
    return key.to_bytes((key.bit_length() + 7) // 8, "big")


def _size(size: int) -> bytes:
    return (size | 1 << 56).to_bytes(8, "big")


def _number(value: int) -> bytes:
    return value.to_bytes(8, "big")


def _element(key: int, payload: bytes) -> bytes:
    return _key(key) + _size(len(payload)) + payload
