"""Evaluate and Compare: known edits give the figures and pictures that they must."""

import pytest
import torch

BOX = "8,8,24,24"
SECONDS = 3
FPS = 25.0


@pytest.fixture
def voice() -> dict:
    """Syllables: a tone that swells and fades twice a second."""
    t = torch.arange(SECONDS * 16000) / 16000
    swell = torch.sin(torch.pi * 2 * t).clamp(0, 1)
    wave = swell * torch.sin(2 * torch.pi * 200 * t)
    return {"waveform": wave[None, None], "sample_rate": 16000}


def talking(*, late: int = 0) -> torch.Tensor:
    """A grey face whose dark mouth opens with the voice, `late` frames after it: [75 40 48 3]."""
    t = (torch.arange(SECONDS * int(FPS)) - late) / FPS
    images = torch.full((len(t), 40, 48, 3), 0.6)
    images[:, 17:23, 17:23] = (0.6 - 0.5 * torch.sin(torch.pi * 2 * t).clamp(0, 1))[
        :, None, None, None
    ]
    return images


def still() -> torch.Tensor:
    return torch.full((SECONDS * int(FPS), 40, 48, 3), 0.6)


def figures(nodes, source, edited, voice):
    return nodes.Evaluate().evaluate(source, edited, voice, region=BOX, fps=FPS)


def test_a_mouth_that_follows_the_voice_scores_higher_than_the_source(nodes, voice):
    plot, report, sync, outside, _ = figures(nodes, talking(late=6), talking(), voice)
    assert sync > 0.8 and outside == 0
    assert "mouth +0.00 s" in report and "mouth found in 75 of 75 frames" in report
    assert plot.shape[0] == 1 and plot.std() > 0.05


def test_how_late_a_mouth_is_gets_told(nodes, voice):
    _, report, *_ = figures(nodes, talking(), talking(late=3), voice)
    assert "mouth +0.12 s" in report


def test_a_mouth_that_does_not_move_has_no_score(nodes, voice):
    _, report, sync, _, flicker = figures(nodes, talking(), still(), voice)
    assert sync == 0.0 and "unknown" in report and flicker == 0.0


def test_changes_outside_and_flicker_are_measured(nodes, voice):
    generator = torch.Generator().manual_seed(0)
    source = talking()
    noisy = (source + 0.1 * torch.rand(source.shape, generator=generator)).clamp(0, 1)
    *_, outside, flicker = figures(nodes, source, noisy, voice)
    assert outside == pytest.approx(0.05 * 255, rel=0.1)
    assert flicker > 2


def test_frames_without_a_mouth_are_gaps(nodes, voice, tmp_path):
    boxes = tmp_path / "boxes.json"
    boxes.write_text(str([[8, 8, 24, 24]] * 40 + ["null"] * 35).replace("'", ""))
    _, report, *_ = nodes.Evaluate().evaluate(
        talking(), talking(), voice, region=str(boxes), fps=FPS
    )
    assert "40 of 75" in report


def test_compare_shows_both_and_their_mouths(nodes, clip, audio, images):
    from omnisync_pack.omnisync_core.media import probe_video, read_frames

    edited = (images * 0.5).float()
    video = nodes.Compare().compare(str(clip), edited, audio=audio, region=BOX)[0]
    info = probe_video(video)
    assert (info.frames, info.width, info.height, info.has_audio) == (6, 96, 88, True)
    picture = next(iter(read_frames(video)))
    # The right half is the darker clip, above and below.
    assert picture[:40, :48].mean() > picture[:40, 48:].mean() + 30
    assert picture[40:, :48].mean() > picture[40:, 48:].mean() + 30
    video.unlink()


def test_compare_without_zoom_needs_no_mouth(nodes, clip):
    from omnisync_pack.omnisync_core.media import probe_video

    video = nodes.Compare().compare(str(clip), str(clip), zoom=False)[0]
    info = probe_video(video)
    assert (info.width, info.height, info.has_audio) == (96, 40, False)
    video.unlink()


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"edited": torch.zeros(5, 40, 48, 3)}, "edited: expected 6 frames .* got 5 frames"),
        ({"edited": torch.zeros(6, 20, 48, 3)}, "edited: .* got 6 frames of 48 x 20"),
        ({"edited": None}, "edited: expected a VIDEO or IMAGE, got nothing"),
        ({"source": 3}, "source: expected a VIDEO, got int"),
        ({"source": torch.zeros(0, 4, 4, 3)}, "source: expected at least one frame"),
        ({"region": "somewhere"}, "expected the region as"),
        ({"speaker": "mother"}, "expected the speaker as"),
    ],
)
@pytest.mark.parametrize("node", ["Evaluate", "Compare"])
def test_bad_input_names_the_node_and_leaves_nothing(
    nodes, fake_host, images, audio, node, fields, told
):
    cls = getattr(nodes, node)
    form = {"source": images, "edited": images, "audio": audio, "region": BOX, **fields}
    with pytest.raises(ValueError, match=f"(?s)^{cls.TITLE}: .*{told}"):
        getattr(cls(), cls.FUNCTION)(**form)
    assert not list(fake_host.models.glob("temp/*"))


@pytest.mark.parametrize(
    "audio", [None, {"waveform": torch.full((1, 1, 99), torch.nan), "sample_rate": 8000}]
)
def test_a_sound_that_is_none_is_refused(nodes, images, audio):
    with pytest.raises(ValueError, match=r"^OmniSync Evaluate: audio: "):
        nodes.Evaluate().evaluate(images, images, audio, region=BOX)
