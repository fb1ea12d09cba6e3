"""Is it still the same person? With a face embedder that had no part in making the picture.

    # in an environment of its own
    pip install dlib-bin face_recognition_models "setuptools<80" imageio-ffmpeg numpy
    python benchmarks/identity.py OUT        # OUT as benchmarks/lip_sync.py fills it

dlib's ResNet (D. King, "High quality face recognition with deep metric learning", 2017): 128
numbers a face; by its author two faces less than 0.6 apart are one person. Every twentieth frame;
the face is found and aligned by eyes and nose in the source, and the same cut is taken of every
video, for an edit moves no head. Rows: result and truth against the source, and the source against
another item's source (another person, for scale). Columns: cosine, its least over the items,
distance, and the share of frames below 0.6; frames in which the source shows no face are left out
and counted.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import dlib
import face_recognition_models as models
import imageio_ffmpeg
import numpy as np

EVERY = 20
SAME_BELOW = 0.6
_FILES = (
    models.pose_predictor_five_point_model_location(),
    models.face_recognition_model_location(),
)


def frames(path: Path) -> list[np.ndarray]:
    """uint8 [h, w, 3] RGB, every twentieth frame."""
    reader = imageio_ffmpeg.read_frames(str(path), output_params=["-fps_mode", "passthrough"])
    width, height = next(reader)["size"]
    taken = [data for i, data in enumerate(reader) if i % EVERY == 0]
    return [np.frombuffer(data, np.uint8).reshape(height, width, 3) for data in taken]


class Embedder:
    """128 numbers of length about 1.4 for a cut of a face."""

    def __init__(self) -> None:
        self.find = dlib.get_frontal_face_detector()
        self.align = dlib.shape_predictor(_FILES[0])
        self.embed = dlib.face_recognition_model_v1(_FILES[1])

    def place(self, picture: np.ndarray):
        """Eyes and nose of the largest face, None where there is none."""
        found = self.find(picture)
        return self.align(picture, max(found, key=lambda box: box.area())) if found else None

    def __call__(self, picture: np.ndarray, place) -> np.ndarray:
        return np.array(self.embed.compute_face_descriptor(picture, place))


def describe(folder: Path, embed: Embedder) -> tuple[dict[str, np.ndarray], float]:
    """Video -> [f, 128] of the frames in which the source shows a face, and their share."""
    names = [n for n in ("source", "result", "truth") if (folder / f"{n}.mp4").exists()]
    films = {name: frames(folder / f"{name}.mp4") for name in names}
    places = [embed.place(picture) for picture in films["source"]]
    seen = [i for i, place in enumerate(places) if place is not None]
    rows = {
        name: np.array([embed(film[i], places[i]) for i in seen if i < len(film)]).reshape(-1, 128)
        for name, film in films.items()
    }
    return rows, len(seen) / len(places)


def compare(a: np.ndarray, b: np.ndarray) -> tuple[float, float, float]:
    """Mean cosine, mean distance, share of frames taken for one person."""
    count = min(len(a), len(b))
    a, b = a[:count], b[:count]
    apart = np.linalg.norm(a - b, axis=1)
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return float(cosine.mean()), float(apart.mean()), float((apart < SAME_BELOW).mean())


def report(kind: str, folders: list[Path]) -> None:
    """Print the table of one kind."""
    embed = Embedder()
    items = {folder.name: describe(folder, embed) for folder in folders}
    items = {name: item for name, item in items.items() if len(item[0]["source"])}
    names, shares = list(items), [share for _, share in items.values()]
    write = sys.stdout.write
    write(f"\n## {kind}: {len(items)} of {len(folders)} items with a face; of their frames ")
    write(f"{sum(shares) / max(len(shares), 1):.0%}\n\n")
    write("| row | cosine | least | distance | same person |\n| --- | --- | --- | --- | --- |\n")
    people = [name.split("__")[0] for name in names]
    stranger = {
        name: next((n for n, p in zip(names, people, strict=True) if p > people[i]), names[0])
        for i, name in enumerate(names)
    }
    for row in ("result", "truth", "another person"):
        rows = []
        for name, (videos, _) in items.items():
            other = (
                items[stranger[name]][0]["source"] if row == "another person" else videos.get(row)
            )
            if other is not None:
                rows.append(compare(videos["source"], other))
        if rows:
            cosine, apart, same = np.mean(rows, axis=0)
            least = min(one[0] for one in rows)
            write(f"| {row} | {cosine:.3f} | {least:.3f} | {apart:.2f} | {same:.0%} |\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path, help="what benchmarks/lip_sync.py filled")
    arguments = parser.parse_args()
    for kind in ("rendered", "real"):
        folders = sorted(p.parent for p in (arguments.out / kind).glob("*/result.mp4"))
        if folders:
            report(kind, folders)


if __name__ == "__main__":
    main()
