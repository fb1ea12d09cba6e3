"""nodes/host.py: what comes from ComfyUI, and what goes back."""

import io
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch


@pytest.fixture
def host(pack):
    from omnisync_pack.nodes import host

    return host


def test_images_become_bytes_and_unchanged_ones_come_back_bit_for_bit(host, images):
    frames = host.images_to_core(images)
    assert frames.dtype == np.uint8 and frames.shape == (6, 40, 48, 3)
    assert torch.equal(host.images_from_core(frames, frames, images), images)


def test_only_changed_values_are_written_and_the_input_stays(host, images):
    before = images.clone()
    frames = host.images_to_core(images)
    edited = frames.copy()
    edited[2, 5, 6] = 255 - frames[2, 5, 6]
    result = host.images_from_core(edited, frames, images)
    assert torch.equal(images, before)
    assert (result != images).any(-1).nonzero().tolist() == [[2, 5, 6]]
    assert torch.allclose(result[2, 5, 6], torch.from_numpy(edited[2, 5, 6]) / 255)


def test_transparency_is_kept(host, images):
    rgba = torch.cat([images, torch.full((6, 40, 48, 1), 0.3)], -1)
    frames = host.images_to_core(rgba)
    result = host.images_from_core(255 - frames, frames, rgba)
    assert result.shape == rgba.shape and torch.equal(result[..., 3], rgba[..., 3])


def test_half_precision_and_overshooting_images_are_taken(host):
    frames = host.images_to_core(torch.tensor([-0.2, 0.5, 1.3]).half().expand(1, 2, 2, 3))
    assert frames[0, 0, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize(
    ("images", "told"),
    [
        (None, "NoneType"),
        (torch.zeros(4, 4, 3), r"\(4, 4, 3\)"),
        (torch.zeros(1, 4, 4, 1), r"\(1, 4, 4, 1\)"),
        (torch.zeros(0, 4, 4, 3), "at least one frame"),
        (torch.full((1, 4, 4, 3), torch.nan), "frame 0 holds .*NaN"),
    ],
)
def test_what_is_no_image_batch_is_refused(host, images, told):
    with pytest.raises(ValueError, match=f"images: .*{told}"):
        host.images_to_core(images)


class Video:
    """A VIDEO of a file; source is what the host would stream from."""

    def __init__(self, source, *, trim=(0.0, 0.0)):
        self.source, self.trim = source, trim

    def get_stream_source(self):
        if self.source is None:
            raise ValueError("Could not determine output format")
        return self.source

    def get_active_trim_window(self):
        return self.trim

    def save_to(self, path):
        Path(path).write_bytes(b"saved")


def test_a_video_on_disk_is_read_where_it_lies(host, clip):
    with host.video_file(Video(str(clip))) as path:
        assert path == clip
    assert clip.exists()


@pytest.mark.parametrize(
    ("video", "content"),
    [
        (Video(io.BytesIO(b"streamed")), b"streamed"),
        (Video(None), b"saved"),
        (Video("whole.mp4", trim=(1.0, 2.0)), b"saved"),
    ],
)
def test_other_videos_become_a_file_for_a_while(host, fake_host, video, content):
    with host.video_file(video) as path:
        assert path.read_bytes() == content
    assert not path.exists()


def test_what_is_no_video_is_refused(host):
    with pytest.raises(ValueError, match="video: expected a VIDEO, got int"), host.video_file(7):
        pass


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(24000, 1001), Fraction(30000, 1001)])
def test_a_rate_survives_as_a_number(host, rate):
    assert host.exact_rate(float(rate)) == rate


def test_progress_moves_on_and_shows_the_mouth(host, fake_host):
    show = host.progress()
    show(SimpleNamespace(stage="locate", done=10, total=10, preview=None))
    show(SimpleNamespace(stage="edit", done=5, total=10, preview=torch.zeros(3, 8, 8)))
    assert fake_host.bar == [0.2, 0.6]
    kind, picture, _ = fake_host.previews[0]
    assert kind == "JPEG" and picture.size == (8, 8)


def test_an_interrupt_stops_at_the_next_report(host, fake_host):
    show = host.progress()
    fake_host.interrupted = True
    with pytest.raises(KeyboardInterrupt):
        show(SimpleNamespace(stage="edit", done=5, total=10, preview=None))


def test_without_a_host_nothing_is_shown_and_a_video_is_a_path(host, clip):
    assert host.progress() is None
    assert host.video_from_file(clip) == clip
    assert host.model_names() == [host.EMBEDDED]
