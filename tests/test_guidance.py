"""ST-CFG: one formula, three profiles, no evaluation that is not needed."""

import pytest
import torch

from omnisync_core.guidance import mouth_map, schedules, st_cfg

SHAPE = (1, 2, 3, 6, 6)
VALUES = {
    name: torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))
    for seed, name in enumerate(("none", "unordered", "audio"))
}


class Recorder:
    """Stands in for the network and notes what it was asked for."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []

    def __call__(self, x_t, t, names):
        self.calls.append(names)
        return [VALUES[name] for name in names]


def guided(t, **options):
    network = Recorder()
    return st_cfg(network, **options)(torch.zeros(SHAPE), t), network.calls


def test_guidance_of_one_changes_nothing():
    v, calls = guided(0.7, spatial_scale=1, temporal_scale=1, profile="constant")
    assert torch.equal(v, VALUES["audio"])
    assert calls == [("audio",)]


@pytest.mark.parametrize("profile", ["seed", "paper", "constant"])
def test_guidance_of_zero_is_unconditional(profile):
    v, calls = guided(0.7, spatial_scale=0, temporal_scale=0, profile=profile)
    assert torch.equal(v, VALUES["none"])
    assert calls == [("none",)]


def test_seed_profile_follows_its_formula_in_one_call():
    t, m = 0.6, mouth_map(6, 6)
    v, calls = guided(t, spatial_scale=2.0, temporal_scale=3.0, profile="seed", mouth_map=m)
    k_s = 2 * (1 - torch.sigmoid(torch.tensor(t)))
    k_t = torch.sigmoid(torch.tensor(t)) / torch.sigmoid(torch.tensor(1.0))
    none, unordered, audio = VALUES.values()
    want = none + 2 * k_s * m * (unordered - none) + 3 * k_t * (audio - unordered)
    torch.testing.assert_close(v, want)
    assert calls == [("none", "unordered", "audio")]


def test_paper_profile_is_equation_nine_and_applies_the_peak_once():
    m = mouth_map(6, 6, floor=0.2)
    v, calls = guided(0.5, spatial_scale=4, temporal_scale=4, profile="paper", mouth_map=m)
    want = VALUES["none"] + 4 * 0.5**1.5 * m * (VALUES["audio"] - VALUES["none"])
    torch.testing.assert_close(v, want)
    assert calls == [("none", "audio")]


def test_classifier_free_guidance_asks_for_two_conditions():
    v, calls = guided(0.3, spatial_scale=3, temporal_scale=3, profile="constant")
    torch.testing.assert_close(v, VALUES["none"] + 3 * (VALUES["audio"] - VALUES["none"]))
    assert calls == [("none", "audio")]


def test_curves_peak_at_one_and_move_opposite_ways():
    spatial, temporal = zip(*(schedules("seed", i / 10) for i in range(11)), strict=True)
    assert spatial[0] == temporal[-1] == 1
    assert list(spatial) == sorted(spatial, reverse=True)
    assert list(temporal) == sorted(temporal)
    assert min(spatial) == pytest.approx(0.538, abs=1e-3)
    assert min(temporal) == pytest.approx(0.684, abs=1e-3)


def test_the_mouth_map_peaks_at_the_mouth_and_never_falls_below_its_floor():
    m = mouth_map(64, 48, centre=(0.25, 0.75), sigma=0.1, floor=0.3)
    assert m.shape == (1, 1, 1, 64, 48)
    row, column = divmod(int(m.argmax()), 48)
    assert abs(row - 47.5) <= 1 and abs(column - 11.5) <= 1
    assert 0.98 < float(m.max()) <= 1
    assert float(m.min()) == pytest.approx(0.3, abs=1e-4)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: st_cfg(Recorder(), spatial_scale=1, temporal_scale=1, profile="sead"),  # type: ignore[arg-type]
        lambda: schedules("seed", 1.2),
        lambda: mouth_map(8, 8, sigma=0),
        lambda: mouth_map(8, 8, floor=2),
    ],
)
def test_nonsense_is_refused_at_once(wrong):
    with pytest.raises(ValueError, match="expected"):
        wrong()
