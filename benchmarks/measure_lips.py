"""Measure lips, frame by frame, with a face mesh that had no part in making the picture.

    pip install mediapipe==0.10.21 imageio-ffmpeg        # in an environment of its own
    python benchmarks/measure_lips.py VIDEO [VIDEO ...]

Writes VIDEO.lips.npz beside each video (skipped when it is newer than the video; --force measures
again). f frames:
    times [f]       seconds, the first frame at 0
    opening [f]     inner lips' middles (13, 14) apart, over the face's size; NaN: no face found
    width [f]       mouth corners (61, 291) apart, over the face's size
    mouth [f, 2]    middle between 13 and 14 in pixels
    crop [f, 3, 2]  what region.standard_box takes, in pixels: the middles of the corners of the two
                    eyes, and the mean of the mouth's corners and the middles of the inner lips
The face's size is the root-mean-square radius, in the mesh's three dimensions, of nine points that
speech does not move (eye corners, bridge and base of the nose, temples, forehead), so that turning
the head does not open the mouth.

Needs only mediapipe, numpy, imageio-ffmpeg and the OpenCV that mediapipe brings.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("GLOG_minloglevel", "3")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import cv2
import imageio_ffmpeg
import mediapipe
import numpy as np

UPPER, LOWER, CORNERS = 13, 14, (61, 291)
CROP_POINTS = ((33, 133), (362, 263), (61, 291, 13, 14))
RIGID = (33, 133, 362, 263, 168, 2, 127, 356, 10)
CROP = 384  # side of the enlarged crop for small faces: twice the mesh's own input


def frame_times(path: Path) -> np.ndarray:
    """Presentation times [f] in seconds of every decoded frame, from 0."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path), "-map", "0:v:0"]
    command += ["-fps_mode", "passthrough", "-enc_time_base", "1:90000", "-f", "framecrc", "-"]
    text = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    unit = re.search(r"#tb 0: (\d+)/(\d+)", text)
    if unit is None:
        raise ValueError(f"expected a video with frames, got none from {path}")
    ticks = [int(line.split(",")[2]) for line in text.splitlines() if line[:2] == "0,"]
    times = np.array(ticks, np.float64) * int(unit[1]) / int(unit[2])
    return times - times[0]


def frames(path: Path) -> Iterator[np.ndarray]:
    """uint8 [h, w, 3] RGB, every decoded frame once."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path), "-map", "0:v:0"]
    command += ["-fps_mode", "passthrough", "-f", "image2pipe", "-c:v", "ppm", "-"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while header := process.stdout.readline():
            width, height = (int(n) for n in process.stdout.readline().split())
            process.stdout.readline()
            assert header == b"P6\n", header
            data = process.stdout.read(width * height * 3)
            yield np.frombuffer(data, np.uint8).reshape(height, width, 3)


def mesh_points(mesh, picture: np.ndarray, *, left: float, top: float, scale: float):
    """The mesh [478, 3] in pixels of the whole frame (z alike), None where there is no face."""
    height, width = picture.shape[:2]
    found = mesh.process(picture).multi_face_landmarks
    if not found:
        return None
    points = np.array([(p.x * width, p.y * height, p.z * width) for p in found[0].landmark])
    return points / scale + np.array([left, top, 0.0])


def square(picture: np.ndarray, x: float, y: float, side: float):
    """A square round (x, y) as CROP x CROP, black outside the frame, and where it lies."""
    left, top, side = int(x - side / 2), int(y - side / 2), max(int(side), 16)
    matrix = np.array([[CROP / side, 0, -left * CROP / side], [0, CROP / side, -top * CROP / side]])
    how = cv2.INTER_AREA if side > CROP else cv2.INTER_CUBIC
    cut = cv2.warpAffine(picture, matrix, (CROP, CROP), flags=how)
    return cut, {"left": left, "top": top, "scale": CROP / side}


def detect(detector, picture: np.ndarray) -> tuple[float, float, float] | None:
    """Middle and side of the largest face; small ones are looked for tile by tile."""
    height, width = picture.shape[:2]
    for parts in (1, 2, 3):
        side = min(int(max(height, width) / parts * 1.2), max(height, width))
        best = (0.0, 0.0, 0.0, 0.0)
        for y in range(0, max(height - side, 0) + 1, max(side // 2, 1)):
            for x in range(0, max(width - side, 0) + 1, max(side // 2, 1)):
                tile = np.ascontiguousarray(picture[y : y + side, x : x + side])
                for face in detector.process(tile).detections or []:
                    box = face.location_data.relative_bounding_box
                    size = max(box.width * tile.shape[1], box.height * tile.shape[0])
                    middle_x = x + (box.xmin + box.width / 2) * tile.shape[1]
                    middle_y = y + (box.ymin + box.height / 2) * tile.shape[0]
                    best = max(best, (size * face.score[0], middle_x, middle_y, size))
        if best[0] > 0:
            return best[1], best[2], best[3]
    return None


def measure(path: Path, mesh: Callable, detector) -> dict[str, np.ndarray]:
    """All figures of a video. The mesh follows the face; where it is lost, a crop is searched."""
    times, rows, last = frame_times(path), [], None
    with mesh(static_image_mode=False) as follow, mesh(static_image_mode=True) as search:
        for picture in frames(path):
            points = mesh_points(follow, picture, left=0, top=0, scale=1)
            if points is None:
                if last is not None:  # round the last face first: cheaper, and keeps to one person
                    x, y = last[:, :2].mean(0)
                    cut, where = square(picture, x, y, 2.0 * np.ptp(last[:, :2], axis=0).max())
                    points = mesh_points(search, cut, **where)
                if points is None and (face := detect(detector, picture)) is not None:
                    cut, where = square(picture, face[0], face[1], 2.2 * face[2])
                    points = mesh_points(search, cut, **where)
            last = points
            rows.append(np.full((478, 3), np.nan) if points is None else points)
    points = np.stack(rows)
    if len(points) != len(times):
        raise ValueError(f"{path}: {len(points)} frames decoded but {len(times)} time stamps")
    rigid = points[:, RIGID]
    size = np.sqrt(((rigid - rigid.mean(1, keepdims=True)) ** 2).sum(-1).mean(-1))
    apart = lambda a, b: np.linalg.norm(points[:, a, :2] - points[:, b, :2], axis=-1) / size  # noqa: E731
    return {
        "times": times,
        "opening": apart(UPPER, LOWER).astype(np.float32),
        "width": apart(*CORNERS).astype(np.float32),
        "mouth": points[:, (UPPER, LOWER), :2].mean(1).astype(np.float32),
        "crop": np.stack([points[:, p, :2].mean(1) for p in CROP_POINTS], 1).astype(np.float32),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("videos", type=Path, nargs="+")
    parser.add_argument("--force", action="store_true", help="measure again")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    solutions = mediapipe.solutions

    def mesh(*, static_image_mode: bool):
        return solutions.face_mesh.FaceMesh(
            static_image_mode=static_image_mode, max_num_faces=1, refine_landmarks=True
        )

    with solutions.face_detection.FaceDetection(model_selection=1) as detector:
        for path in arguments.videos:
            out = path.with_name(path.name + ".lips.npz")
            fresh = out.exists() and out.stat().st_mtime >= path.stat().st_mtime
            if fresh and not arguments.force:
                continue
            figures = measure(path, mesh, detector)
            np.savez_compressed(out, **figures)
            found = np.isfinite(figures["opening"]).mean()
            sys.stdout.write(f"{path.name}: {len(figures['times'])} frames, face in {found:.1%}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
