import cv2
import numpy as np
import pytest

from omnisync_core.training.real import LIPS, PACKED, PackedClip
from omnisync_core.training.voice import GRID_LANDMARKS

# Eye corners, nose and its wings, by their numbers in the face mesh.
_POINTS = {
    **{33: (32, 20), 133: (52, 20), 362: (68, 20), 263: (88, 20), 168: (60, 20)},
    **{1: (60, 42), 4: (60, 38), 98: (52, 46), 327: (68, 46), 2: (60, 48)},
}


def _face(opening: float) -> np.ndarray:
    """The 96 landmarks of a face in the middle of a packed crop: lips, oval, then the rest."""
    turn = np.linspace(0, 2 * np.pi, 20, endpoint=False)[:, None]
    ring = np.concatenate([-np.cos(turn), np.sin(turn)], axis=1)
    outer, inner = (ring * size + (60, 66) for size in ((20, 7 + opening), (14, 0.5 + opening)))
    turn = np.linspace(0, 2 * np.pi, 36, endpoint=False)[:, None]
    oval = np.concatenate([60 + 48 * np.sin(turn), 40 - 62 * np.cos(turn)], axis=1)
    rest = [_POINTS.get(number, (60, 30)) for number in GRID_LANDMARKS[76:]]
    return np.concatenate([outer, inner, oval, rest]).astype(np.float32)


@pytest.fixture
def packed_clip() -> PackedClip:
    """Twelve frames of a smooth picture whose mouth opens and closes; the head does not move."""
    rng = np.random.default_rng(0)
    ground = cv2.resize(rng.uniform(40, 200, (9, 9, 3)), (PACKED, PACKED))
    crops, points = [], []
    for i in range(12):
        face = _face(4 + 4 * np.sin(i))
        crop = ground.copy()
        cv2.fillConvexPoly(crop, np.round(face[LIPS][20:]).astype(np.int32), (20, 10, 10))
        crops.append(np.clip(crop + rng.normal(size=crop.shape), 0, 255).astype(np.uint8))
        points.append(face)
    return PackedClip("face", np.stack(crops), np.stack(points))
