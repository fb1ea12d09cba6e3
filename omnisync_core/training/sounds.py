"""Utterances end to end, so that batches of them are drawn by indices alone, on any device.

In: utterances (a sound and what the mouth does with it). Out: batches of stretches at random
speeds, with their labels. A GPU hears a batch in hundredths of a second; cutting it out of arrays
one by one would take longer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..audio import SAMPLE_RATE, TOKEN_RATE

_HOP = int(SAMPLE_RATE / TOKEN_RATE)
_SPEEDS, _SPED_SHARE = (-0.22, 0.3), 0.6
"""Natural logarithms of the speeds that turn one voice into others, and how often they do."""
_AROUND = 25  # tokens of silence that a stretch may begin or end with
IGNORED = -100  # class of tokens without a viseme label (cross_entropy's default ignore_index)


@dataclass
class Utterance:
    """A sound and what the mouth does with it, at 50 tokens a second; NaN where nobody knows."""

    waveform: np.ndarray  # [n] float32
    articulators: np.ndarray  # [m, 8]
    visemes: np.ndarray  # [m] int64
    lips: np.ndarray  # [m, 2]: opening, width (relative to the face, width centred per clip)


class SoundPool:
    """Utterances on a device. A row of a batch is a stretch of one of them, with silence (mouth at
    rest, lips unknown) where it reaches past the ends."""

    def __init__(self, utterances: list[Utterance], device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)

        def joined(name: str) -> tuple[Tensor, Tensor, Tensor]:
            """Values end to end, where each one begins, how many it has."""
            parts = [getattr(one, name) for one in utterances]
            counts = torch.tensor([len(part) for part in parts])
            values = torch.from_numpy(np.concatenate(parts)).to(self.device)
            starts = (counts.cumsum(0) - counts).to(self.device)
            return values, starts, counts.to(self.device)

        self.waveform = joined("waveform")
        self.labels = {name: joined(name)[0] for name in ("articulators", "visemes", "lips")}
        _, self.starts, self.counts = joined("visemes")

    def draw(self, size: int, tokens: int, generator: torch.Generator) -> dict[str, Tensor]:
        """waveform and babble (another utterance) [size, tokens * 320], articulators [size, tokens,
        8], visemes [size, tokens] and lips [size, tokens, 2]; the generator is the device's."""
        rand = lambda: torch.rand(size, generator=generator, device=self.device)  # noqa: E731
        pick, other = ((rand() * len(self.counts)).long() for _ in "ab")
        low, high = _SPEEDS
        speed = torch.where(rand() < _SPED_SHARE, (low + (high - low) * rand()).exp(), 1.0)
        # Played faster (above 1) or slower: another pitch and throat, the same lips.
        count = self.counts[pick] / speed
        first = (rand() * ((count - tokens).clamp(min=0) + 2 * _AROUND)).floor() - _AROUND
        hop = torch.arange(tokens * _HOP, device=self.device)
        at = (first[:, None] * _HOP + hop) * speed[:, None]
        # 0.5 before rounding down: the nearest label, within 10 ms.
        place = (first[:, None] + torch.arange(tokens, device=self.device)) * speed[:, None] + 0.5
        inside = (place >= 0.5) & (place < self.counts[pick, None])
        mine = self.starts[pick]
        index = mine[:, None] + torch.where(inside, place.long(), 0)
        taken = {name: values[index] for name, values in self.labels.items()}
        rest = self.labels["articulators"][mine][:, None]
        known = self.labels["visemes"][mine][:, None] != IGNORED
        silent = torch.where(known, 0, IGNORED)
        later = (SAMPLE_RATE * rand()).long()[:, None]
        return {
            "waveform": self._sound(pick, at),
            "babble": self._sound(other, (hop + later) % self._samples(other)),
            "articulators": torch.where(inside[..., None], taken["articulators"], rest),
            "visemes": torch.where(inside, taken["visemes"], silent),
            "lips": torch.where(inside[..., None], taken["lips"], torch.nan),
        }

    def _samples(self, pick: Tensor) -> Tensor:
        return self.waveform[2][pick, None]

    def _sound(self, pick: Tensor, at: Tensor) -> Tensor:
        """Samples [b n] of the utterances pick [b] at the places at [b n]; 0 outside."""
        values, starts, _ = self.waveform
        last = self._samples(pick) - 1
        inside, held = (at >= 0) & (at <= last), torch.minimum(at.clamp(min=0), last)
        below = held.long()
        above = torch.minimum(below + 1, last)
        start, share = starts[pick, None], held - below
        sound = values[start + below] * (1 - share) + values[start + above] * share
        return torch.where(inside, sound, 0)
