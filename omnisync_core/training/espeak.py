"""One utterance by libespeak-ng, in a process of its own: tts.py runs this file as a script.

    python espeak.py LIBRARY VOICE RATE PITCH RANGE < TEXT > SPEECH

SPEECH is a line of JSON (the sample rate, and [seconds, IPA symbol] of every phoneme's start), then
the samples as int16. The library carries its phases and flutter from one utterance to the next and
cannot be told to forget them: the same text sounds different the second time. A fresh process is
deterministic. Only the standard library, so that it starts in hundredths of a second.
"""

from __future__ import annotations

import ctypes
import json
import sys

# Constants of speak_lib.h.
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_PHONEME_EVENTS, _INITIALIZE_PHONEME_IPA = 0x0001, 0x0002
_EVENT_LIST_TERMINATED, _EVENT_PHONEME = 0, 7
_RATE, _PITCH, _RANGE = 1, 3, 4
_CHARS_UTF8 = 1

NO_SUCH_VOICE = 3
"""Exit status for a voice that the library does not know."""


class _EventId(ctypes.Union):
    _fields_ = [
        ("number", ctypes.c_int),
        ("name", ctypes.c_char_p),
        ("string", ctypes.c_char * 8),
    ]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    ]


_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


def main() -> None:
    library, voice, *numbers = sys.argv[1:]
    data = sys.stdin.buffer.read()
    engine = ctypes.CDLL(library)
    blocks: list[bytes] = []
    marks: list[tuple[float, str]] = []

    def collect(samples, count, events) -> int:
        i = 0
        while events[i].type != _EVENT_LIST_TERMINATED:
            if events[i].type == _EVENT_PHONEME:
                symbol = events[i].id.string.decode("utf-8", "ignore")
                marks.append((events[i].audio_position / 1000, symbol))
            i += 1
        if samples and count > 0:
            blocks.append(ctypes.string_at(samples, 2 * count))
        return 0

    options = _INITIALIZE_PHONEME_EVENTS | _INITIALIZE_PHONEME_IPA
    rate = engine.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, None, options)
    callback = _CALLBACK(collect)  # kept: the library holds only a bare pointer
    engine.espeak_SetSynthCallback(callback)
    if engine.espeak_SetVoiceByName(voice.encode()) != 0:
        sys.exit(NO_SUCH_VOICE)
    for parameter, value in zip((_RATE, _PITCH, _RANGE), map(int, numbers), strict=True):
        engine.espeak_SetParameter(parameter, value, 0)
    engine.espeak_Synth(data, len(data) + 1, 0, 0, 0, _CHARS_UTF8, None, None)
    engine.espeak_Synchronize()
    sys.stdout.buffer.write(json.dumps({"rate": rate, "marks": marks}).encode() + b"\n")
    sys.stdout.buffer.write(b"".join(blocks))


if __name__ == "__main__":
    main()
