"""The ruler reads what it was fitted on."""

import numpy as np
import pytest

from omnisync_core.evaluation.ruler import Ruler, look

from .conftest import draw, opening_of


def seen(opening):
    return look(draw(opening), np.tile((48.0, 60.0), (60, 1)), np.full(60, 70.0))


def test_it_reads_openings_it_never_saw():
    known, new = opening_of(0), opening_of(1)
    ruler = Ruler(seen(known), np.stack([known, 1 - known], 1))
    read = ruler(seen(new))
    assert np.corrcoef(read[:, 0], new)[0, 1] > 0.98
    assert read[:, 1] == pytest.approx(1 - read[:, 0], abs=1e-6)


def test_it_needs_eight_known_frames():
    true = np.full((60, 1), np.nan)
    true[:7] = 0.5
    with pytest.raises(ValueError, match="got 7"):
        Ruler(seen(opening_of(0)), true)
