"""A deeper model that begins as the one it came from.

    python -m omnisync_core.training.grow WEIGHTS OUT [--model mini]

OUT has the preset's depths; blocks that WEIGHTS lacks are put last and change nothing until they
are trained (as in Net2Net, Chen et al. 2016), so that nothing that was learnt is lost.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from torch import nn

from ..checkpoint import load_model, save_model
from ..config import preset
from ..errors import UserError
from ..model import OmniSync


def grow(smaller: OmniSync, *, depth: int, audio_depth: int) -> OmniSync:
    """The same function with that many blocks of the editor and of the voice encoder.

    Raises UserError for fewer blocks than there are.
    """
    has, config = smaller.config, replace(smaller.config, depth=depth, audio_depth=audio_depth)
    if depth < has.depth or audio_depth < has.audio_depth:
        raise UserError(
            f"A model of {has.depth} and {has.audio_depth} blocks can only grow; {depth} and "
            f"{audio_depth} were asked for."
        )
    larger = OmniSync(config)
    larger.load_state_dict(smaller.state_dict(), strict=False)
    # The editor's blocks begin as the identity by themselves (their gates are zero); the encoder's
    # do once what they add is zero.
    for name, parameter in larger.encoder.blocks[has.audio_depth :].named_parameters():
        if ".attention.out." in name or ".feed.2." in name:
            nn.init.zeros_(parameter)
    return larger


def main() -> None:
    parser = argparse.ArgumentParser(description="Deepen a model without changing what it does.")
    parser.add_argument("weights", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="mini", help="preset that the result is of")
    arguments = parser.parse_args()
    goal = preset(arguments.model)
    larger = grow(load_model(arguments.weights), depth=goal.depth, audio_depth=goal.audio_depth)
    if larger.config != replace(goal, name=larger.config.name):
        raise UserError(
            f"{arguments.weights} differs from {arguments.model!r} in more than its depths; only "
            "those can grow."
        )
    save_model(larger, arguments.out)


if __name__ == "__main__":
    main()
