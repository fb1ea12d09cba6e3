from dataclasses import replace

import numpy as np
import pytest
import torch

from omnisync_core.anchoring import kept_identity, likeness, towards_source
from omnisync_core.config import ModelConfig, SyncOptions
from omnisync_core.editing import edit_frames
from omnisync_core.errors import UserError
from omnisync_core.guidance import mouth_map
from omnisync_core.model import OmniSync
from omnisync_core.progress import Summary
from omnisync_core.region import Box, Tracking

OPTIONS = SyncOptions(steps=2, window=4, overlap=2, identity_floor=0.0)


def _faces(count: int, *, seed: int = 0, side: int = 36) -> torch.Tensor:
    """Smooth pictures [f 3 s s] that move a little; another seed is another face."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 4, 4, generator=generator) * 1.6 - 0.8
    face = torch.nn.functional.interpolate(coarse, (side + count, side), mode="bicubic")
    return torch.cat([face[:, :, i : i + side] for i in range(count)]).clamp(-1, 1)


def test_a_face_is_like_itself_and_unlike_another():
    face, other = _faces(3), _faces(3, seed=1)
    assert likeness(face, face[0])[0] == pytest.approx(1)
    assert likeness(face, face[0]).min() > 0.9 > 0.6 > likeness(other, face[0]).max()


def test_the_lips_may_change_and_the_face_may_not():
    face = _faces(1)
    mouth, cheek = face.clone(), face.clone()
    mouth[:, :, 14:20, 15:21] *= -1
    cheek[:, :, 24:36, 0:16] *= -1
    assert kept_identity(mouth, face, face[0]) > 0.97 > kept_identity(cheek, face, face[0])


def test_what_the_head_did_by_itself_is_not_held_against_the_edit():
    faces = _faces(8)
    assert kept_identity(faces[4:], faces[4:], faces[0]) == pytest.approx(1)


def test_source_guidance_draws_the_picture_to_the_source_away_from_the_mouth():
    source, wrong = torch.zeros(1, 2, 3, 16, 16), torch.ones(1, 2, 3, 16, 16)
    x_t, t = torch.randn(1, 2, 3, 16, 16), 0.6
    guided = towards_source(lambda x, t: (x - wrong) / t, source, 0.5)
    clean = x_t - t * guided(x_t, t)
    expected = 1 - 0.5 * (1 - mouth_map(16, 16)).expand_as(clean)
    torch.testing.assert_close(clean, expected, atol=1e-5, rtol=1e-5)


@pytest.fixture
def model(tiny: ModelConfig) -> OmniSync:
    torch.manual_seed(0)
    model = OmniSync(replace(tiny, crop=32)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model


@pytest.fixture
def frames() -> np.ndarray:
    pictures = (_faces(14, side=40) + 1) * 127.5
    return pictures.permute(0, 2, 3, 1).round().byte().numpy()


def _edit(model, frames, options, *, cuts=()) -> tuple[np.ndarray, Summary]:
    summary, voice = Summary(), torch.sin(torch.arange(16000) * 0.2)
    edited = edit_frames(
        model,
        iter(frames),
        Tracking([Box(20, 20, 32)] * len(frames), cuts),
        model.encode_audio(voice, torch.arange(len(frames)) / 25),
        options=options,
        noise=lambda i, crop: torch.randn(crop.shape, generator=torch.Generator().manual_seed(i)),
        summary=summary,
    )
    return np.stack(list(edited)), summary


@pytest.mark.parametrize("change", [{"keyframe_interval": 5}, {"replay": 3}])
def test_context_reaches_later_windows_and_not_the_first(model, frames, change):
    plain, _ = _edit(model, frames, OPTIONS)
    result, summary = _edit(model, frames, replace(OPTIONS, **change))
    differs = (plain != result).any((1, 2, 3))
    assert not differs[:2].any() and differs[4:].all()
    assert summary.anchored == 0


def test_by_default_no_picture_outlives_its_windows_so_that_nothing_can_drift(model, frames):
    other = np.concatenate([255 - frames[:4], frames[4:]])
    for change, carried in (({}, False), ({"replay": 3}, True)):
        options = replace(OPTIONS, **change)
        result, after_others = (_edit(model, f, options)[0][6:] for f in (frames, other))
        assert np.array_equal(result, after_others) != carried


@pytest.mark.parametrize("change", [{"keyframe_interval": 5}, {"replay": 3}])
def test_a_cut_forgets(model, frames, change):
    options = replace(OPTIONS, **change)
    after, _ = _edit(model, frames, options, cuts=(6,))
    other = np.concatenate([frames[:6] // 2, frames[6:]])
    assert np.array_equal(after[6:], _edit(model, other, options, cuts=(6,))[0][6:])
    assert not np.array_equal(after[8:], _edit(model, frames, options)[0][8:])


def test_an_untrained_model_still_returns_its_input(tiny, frames):
    untrained = OmniSync(replace(tiny, crop=32)).eval()
    options = replace(OPTIONS, keyframe_interval=3, replay=4, identity_floor=1.0)
    result, _ = _edit(untrained, frames, options)
    assert np.array_equal(result, frames)


def test_a_window_that_drifts_is_edited_again_and_counted(model, frames):
    options = replace(OPTIONS, keyframe_interval=3)
    free, none = _edit(model, frames, options)
    held, summary = _edit(model, frames, replace(options, identity_floor=1.0))
    assert none.anchored == 0 and summary.anchored == none.windows - 1  # the first has no keyframe
    corner = (slice(4, None), slice(26, 34), slice(6, 14))
    drift = [np.abs(one[corner].astype(int) - frames[corner]).mean() for one in (free, held)]
    assert 0 < drift[1] < 0.8 * drift[0]


def test_memory_that_runs_out_does_not_disturb_the_memory_of_the_past(model, frames, monkeypatch):
    from omnisync_core import editing

    real, failed = editing.edit_window, []

    def small(model, source, *rest, **options):
        if len(source) > 2:
            failed.append(len(source))
            raise MemoryError
        return real(model, source, *rest, **options)

    monkeypatch.setattr(editing, "edit_window", small)
    options = replace(OPTIONS, keyframe_interval=5, replay=3)
    result, summary = _edit(model, frames, options)
    assert summary.halved == 1 and failed == [4] and (result != frames).any((1, 2, 3)).all()


@pytest.mark.parametrize(
    "change", [{"keyframe_interval": -1}, {"replay": 300}, {"identity_floor": 2}]
)
def test_settings_out_of_range_are_refused(change):
    with pytest.raises(UserError, match="must lie between"):
        SyncOptions(**change)
