"""For the tests: another pack, of the careless kind. It takes names that ours uses, too, and hands
sound over as VideoHelperSuite does: a mapping that is no dict and loads when asked.
"""

import sys
from collections.abc import Mapping
from types import ModuleType

for _name in ("omnisync_core", "host", "widgets", "sockets", "measures", "strip"):
    sys.modules[_name] = ModuleType(_name)


class LazySound(Mapping):
    def __init__(self, sound):
        self._sound = sound

    def __getitem__(self, key):
        return self._sound[key]

    def __iter__(self):
        return iter(("waveform", "sample_rate"))

    def __len__(self):
        return 2


class NeighbourSound:
    CATEGORY = "Neighbour"
    FUNCTION = "give"
    RETURN_TYPES = ("AUDIO",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"audio": ("AUDIO",)}}

    def give(self, audio):
        return (LazySound(audio),)


NODE_CLASS_MAPPINGS = {"NeighbourSound": NeighbourSound}
