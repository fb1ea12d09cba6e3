from typing import Any

import pytest

from omnisync_core.config import PRESETS, ModelConfig, SyncOptions, preset
from omnisync_core.errors import UserError


def test_the_full_preset_is_what_the_method_says() -> None:
    full = preset("omnisync")
    assert (full.depth, full.width, full.patch, full.voiceprint_width) == (24, 768, 8, 256)


def test_mini_is_the_same_network_narrower_and_with_fewer_patches() -> None:
    full, mini = PRESETS["omnisync"], PRESETS["mini"]
    assert mini.audio_reach == full.audio_reach
    assert mini.crop // mini.patch < full.crop // full.patch
    assert mini.width // mini.heads == full.width // full.heads


def test_a_preset_takes_changes_and_keeps_the_rest() -> None:
    changed = preset("mini", depth=1)
    assert changed.depth == 1 and changed.width == PRESETS["mini"].width


def test_an_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(UserError, match="'huge'; choose one of omnisync, mini"):
        preset("huge")


@pytest.mark.parametrize(
    "field",
    [{"heads": 5}, {"heads": 96}, {"audio_heads": 7}, {"heads": 0}, {"depth": 0}, {"patch": -8}],
)
def test_impossible_sizes_are_refused(field: dict[str, int]) -> None:
    with pytest.raises(UserError, match=r"A model's|An? model"):
        preset("mini", **field)


def test_a_width_that_is_no_whole_number_is_refused() -> None:
    with pytest.raises(UserError, match=r"width must be a whole number above 0; got 192\.0"):
        preset("mini", width=192.0)


def test_a_config_survives_the_way_through_plain_values() -> None:
    config = preset("mini", depth=3)
    assert ModelConfig(**config.to_dict()) == config


@pytest.mark.parametrize(
    "bad",
    [
        {"steps": 0},
        {"steps": 1001},
        {"tau": 1.5},
        {"tau": float("nan")},
        {"window": 0},
        {"window": 4, "overlap": 3},
        {"profile": "loud"},
        {"length": "stretch"},
    ],
)
def test_run_options_out_of_range_name_the_option(bad: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=list(bad)[-1]):
        SyncOptions(**bad)
