"""OmniSync Evaluate: source, edit and voice -> figures and a picture of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import clips, host, sounds, widgets


class Evaluate:
    TITLE = "OmniSync Evaluate"
    CATEGORY = widgets.CATEGORY
    DESCRIPTION = (
        "Measures a lip-sync result against its source: whether the mouth follows the voice, what "
        "changed outside the mouth, and whether it flickers. Works after any lip-sync tool."
    )
    FUNCTION = "evaluate"
    RETURN_TYPES = ("IMAGE", "STRING", "FLOAT", "FLOAT", "FLOAT")
    RETURN_NAMES = ("plot", "report", "sync", "outside", "flicker")
    OUTPUT_TOOLTIPS = (
        "The curves over time: voice and mouth, change, jitter.",
        "The figures in words.",
        "How the edited mouth follows the voice's loudness, from -1 to 1. Real speech measured "
        "0.2 to 0.5, another voice below 0.2. 0 when there is too little to tell.",
        "Mean change outside the mouth's crop, in grey levels of 255. Saving as H.264 alone "
        "makes about 1.",
        "Jitter of the edit over jitter of the source: 1 is as steady as before.",
    )
    SEARCH_ALIASES = ("lip sync score", "metrics", "quality", "评估", "口型评分")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "source": clips.socket("The clip before the edit."),
                "edited": clips.socket("The same frames after it."),
                "audio": ("AUDIO", {"tooltip": "The voice that the lips should follow."}),
            },
            "optional": {
                "region": widgets.region(advanced=True),
                "speaker": widgets.speaker(advanced=True),
                "fps": widgets.fps(advanced=True),
            },
        }

    @classmethod
    def IS_CHANGED(cls, region: str = "auto", **_: Any) -> float:
        return widgets.file_time(region)

    @widgets.names_itself
    def evaluate(
        self,
        source: Any,
        edited: Any,
        audio: Any,
        *,
        region: str = "auto",
        speaker: str = "auto",
        fps: float = 25.0,
    ) -> tuple:
        from ..omnisync_core.pipeline import track_mouth
        from . import measures, plot

        show = host.progress()
        with (
            clips.opened(source, name="source", fps=fps) as before,
            clips.opened(edited, name="edited", fps=fps) as after,
        ):
            clips.expect_pair(before, after)
            voice = sounds.waveform(audio, seconds=before.seconds)
            found = track_mouth(
                before.frames(), before.times, region=region, speaker=speaker, callback=show
            )
            pairs = zip(before.frames(), after.frames(), strict=True)
            curves = measures.compare(
                host.counted(pairs, before.count, show), found.track, found.cuts
            )
        loud = measures.loudness(voice, before.times)
        old, new = (
            measures.sync(np.array(curve), loud, float(before.rate))
            for curve in (curves.opening_before, curves.opening_after)
        )
        outside = measures.mean_of(curves.outside)
        jitter = [
            measures.mean_of(values) for values in (curves.jitter_before, curves.jitter_after)
        ]
        flicker = jitter[1] / jitter[0] if jitter[0] > 0 else 0.0
        seen = sum(box is not None for box in found.track)
        said = "\n".join(
            (
                f"mouth found in {seen} of {before.count} frames",
                f"mouth follows the voice: {_told(new)}; before the edit: {_told(old)}",
                f"change inside the crop: {measures.mean_of(curves.changed):.2f} grey levels, "
                f"outside: {outside:.2f}",
                f"jitter: {jitter[1]:.2f} grey levels, before the edit {jitter[0]:.2f}",
            )
        )
        picture = plot.draw(curves, loud, title=f"sync {_told(new)}   before {_told(old)}")
        known = 0.0 if np.isnan(new.correlation) else new.correlation
        return (host.image(picture), said, known, outside, flicker)


def _told(sync: Any) -> str:
    if np.isnan(sync.correlation):
        return "unknown (too few frames, no mouth or no sound)"
    return f"{sync.correlation:.2f} with the mouth {sync.lag:+.2f} s"
