from dataclasses import replace

import pytest
import torch

from omnisync_core.config import ModelConfig
from omnisync_core.model import FrameAudio, OmniSync
from omnisync_core.replay import Replay


@pytest.fixture
def shallow(tiny: ModelConfig) -> OmniSync:
    """One block away from its start: what it shows to its attention in time hangs on no other
    frame."""
    torch.manual_seed(0)
    model = OmniSync(replace(tiny, depth=1)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return model


def _window(model: OmniSync, frames: int) -> tuple[torch.Tensor, torch.Tensor, FrameAudio]:
    generator = torch.Generator().manual_seed(1)
    noisy, source = torch.randn(2, 1, frames, 3, 16, 24, generator=generator).unbind(0)
    voice = torch.randn(8000, generator=generator) * 0.1
    return noisy, source, model.encode_audio(voice, torch.arange(frames) / 25)


def _velocity(model, window, span: slice, replay: Replay | None = None, t: float = 0.7):
    noisy, source, audio = window
    names, heard = ["unordered", "audio"], audio.span(span.start, span.stop)
    return torch.stack(model.velocities(noisy[:, span], t, source[:, span], heard, names, replay))


def test_a_window_that_remembers_sees_what_one_long_window_sees(shallow):
    window, replay = _window(shallow, 8), Replay(4)
    whole = _velocity(shallow, window, slice(0, 8))
    replay.begin()
    _velocity(shallow, window, slice(0, 4), replay)
    replay.keep(4)
    late = _velocity(shallow, window, slice(4, 8), replay)
    torch.testing.assert_close(late, whole[:, :, 4:], atol=1e-4, rtol=1e-4)
    assert (late - _velocity(shallow, window, slice(4, 8))).abs().max() > 1e-2


def test_an_empty_memory_changes_nothing(tiny_model):
    window = _window(tiny_model, 3)
    plain = _velocity(tiny_model, window, slice(0, 3))
    assert torch.equal(_velocity(tiny_model, window, slice(0, 3), Replay(4)), plain)


def test_each_moment_of_the_sampling_remembers_its_own(tiny_model):
    window, replay = _window(tiny_model, 4), Replay(2)
    replay.begin()
    _velocity(tiny_model, window, slice(0, 2), replay, t=0.75)
    replay.keep(2)
    assert (replay.past(0.75), replay.past(0.5)) == (2, 0)
    early = _velocity(tiny_model, window, slice(2, 4), replay, t=0.5)
    assert torch.equal(early, _velocity(tiny_model, window, slice(2, 4), t=0.5))


def test_the_first_frame_and_the_last_ones_stay_and_no_more():
    replay = Replay(3)
    for first in range(0, 12, 4):
        replay.begin()
        frames = torch.arange(first, first + 6.0)  # of which two are the next window's as well
        replay.recall(0.5, 0)(frames[None, :, None])
        replay.keep(4)
    (kept,) = replay.state()[0.5]
    assert kept.flatten().tolist() == [0, 10, 11]


def test_a_second_try_is_remembered_and_the_first_is_not():
    replay = Replay(2)
    for value in (1.0, 2.0):
        replay.begin()
        replay.recall(0.5, 0)(torch.full((1, 2, 1), value))
    replay.keep(2)
    assert replay.state()[0.5][0].flatten().tolist() == [2, 2]


def test_a_memory_goes_on_from_its_state():
    replay, other = Replay(3), Replay(3)
    replay.begin()
    replay.recall(0.5, 0)(torch.rand(2, 3, 4))
    replay.keep(3)
    other.restore(replay.state(), like=torch.zeros(1))
    now = torch.rand(2, 1, 4)
    assert torch.equal(other.recall(0.5, 0)(now), replay.recall(0.5, 0)(now))


def test_a_memory_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one frame"):
        Replay(0)
