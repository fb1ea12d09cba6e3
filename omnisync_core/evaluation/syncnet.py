"""LSE-C, LSE-D and offset by the SyncNet of Chung and Zisserman ("Out of time", 2016).

The weights are the user's (they carry no licence): a .safetensors file or torch weights with the
public evaluator's names. 25 frames a second, faces of 224 x 224 as BGR 0..255, five frames at once
against 20 vectors of 13 MFCC; Euclidean distances at 31 offsets. Faces are cut around our
locator's crop and not S3FD's boxes, so figures are close to the public evaluator's, not equal.
"""

from __future__ import annotations

import pickle
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from scipy.fft import dct
from torch import Tensor, nn

from ..errors import UserError

FRAMES, MOST_LAG, FACE = 5, 15, 224
_NO_WEIGHTS = (RuntimeError, ValueError, TypeError, AttributeError, EOFError)
_NO_WEIGHTS += (SafetensorError, pickle.UnpicklingError)
_FACE_SHARE = 1.5  # the face that the evaluator crops over our standard crop; by eye


class SyncNet(nn.Module):
    """Five faces, or 0.2 s of MFCC -> vectors [b, 1024]."""

    def __init__(self) -> None:
        super().__init__()

        def flat(a: int, b: int, kernel: int | tuple[int, int], padding: int) -> list[nn.Module]:
            return [nn.Conv2d(a, b, kernel, padding=padding), nn.BatchNorm2d(b), nn.ReLU()]

        def deep(a: int, b: int, kernel: tuple, stride: tuple, padding: tuple) -> list[nn.Module]:
            convolution = nn.Conv3d(a, b, kernel, stride=stride, padding=padding)
            return [convolution, nn.BatchNorm3d(b), nn.ReLU()]

        def head() -> nn.Sequential:
            layers = [nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 1024)]
            return nn.Sequential(*layers)

        one, two, in_plane = (1, 1, 1), (1, 2, 2), (0, 1, 1)
        self.netcnnaud = nn.Sequential(
            *flat(1, 64, 3, 1),
            nn.MaxPool2d(1, 1),
            *flat(64, 192, 3, 1),
            nn.MaxPool2d(3, (1, 2)),
            *flat(192, 384, 3, 1),
            *flat(384, 256, 3, 1),
            *flat(256, 256, 3, 1),
            nn.MaxPool2d(3, 2),
            *flat(256, 512, (5, 4), 0),
        )
        self.netfcaud = head()
        self.netcnnlip = nn.Sequential(
            *deep(3, 96, (5, 7, 7), two, (0, 0, 0)),
            nn.MaxPool3d((1, 3, 3), two),
            *deep(96, 256, (1, 5, 5), two, in_plane),
            nn.MaxPool3d((1, 3, 3), two, in_plane),
            *deep(256, 256, (1, 3, 3), one, in_plane),
            *deep(256, 256, (1, 3, 3), one, in_plane),
            *deep(256, 256, (1, 3, 3), one, in_plane),
            nn.MaxPool3d((1, 3, 3), two),
            *deep(256, 512, (1, 6, 6), one, (0, 0, 0)),
        )
        self.netfclip = head()

    def see(self, faces: Tensor) -> Tensor:
        """Faces [b, 3, 5, 224, 224], BGR 0..255."""
        return self.netfclip(self.netcnnlip(faces).flatten(1))

    def hear(self, mfcc: Tensor) -> Tensor:
        """MFCC [b, 1, 13, 20]."""
        return self.netfcaud(self.netcnnaud(mfcc).flatten(1))


@lru_cache(maxsize=1)
def load_syncnet(path: Path) -> SyncNet:
    """Weights of the user's. Raises UserError for a file of another kind."""
    net = SyncNet()
    try:
        safe = path.suffix == ".safetensors"
        weights = load_file(path) if safe else torch.load(path, "cpu", weights_only=True)
        net.load_state_dict(weights)
    except (OSError, *_NO_WEIGHTS) as error:
        raise UserError(
            f"Expected weights of SyncNet (netcnnaud.*, netcnnlip.* ...) as .safetensors or torch "
            f"weights; {path} holds something else ({str(error).splitlines()[0][:120]}). "
            "Name the syncnet_v2 file."
        ) from None
    return net.eval()


def mfcc(sound: np.ndarray) -> np.ndarray:
    """13 mel-cepstral coefficients [n, 13] every 10 ms of a sound at 16 kHz, samples as 16 bits.

    25 ms windows, pre-emphasis 0.97, 26 mel filters over 512 bins, lifter 22, the first one the
    log energy: the settings of the public evaluator.
    """
    samples = np.asarray(sound, np.float64) * 32768
    samples = np.append(samples[:1], samples[1:] - 0.97 * samples[:-1])
    count = 1 + max(int(np.ceil((len(samples) - 400) / 160)), 0)
    padded = np.pad(samples, (0, max((count - 1) * 160 + 400 - len(samples), 0)))
    pieces = np.lib.stride_tricks.sliding_window_view(padded, 400)[::160][:count]
    power = np.abs(np.fft.rfft(pieces, 512)) ** 2 / 512
    energy = np.log(np.maximum(power.sum(1), np.finfo(float).eps))
    heard = np.log(np.maximum(power @ _filters().T, np.finfo(float).eps))
    found = np.asarray(dct(heard, type=2, axis=1, norm="ortho"))[:, :13]
    found *= 1 + 11 * np.sin(np.pi * np.arange(13) / 22)
    found[:, 0] = energy
    return found


def _filters(count: int = 26) -> np.ndarray:
    """Triangles [26, 257] even on the mel scale from 0 to 8 kHz."""
    mels = np.linspace(0, 2595 * np.log10(1 + 8000 / 700), count + 2)
    edges = np.floor(513 * 700 * (10 ** (mels / 2595) - 1) / 16000)
    bins = np.arange(257)
    rise = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    return np.clip(np.where(bins < edges[1:-1, None], rise, fall), 0, None)


def faces_of(frames: np.ndarray, centres: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """BGR faces uint8 [f, 224, 224, 3] around crops; grey (110) outside the picture."""
    out = np.empty((len(frames), FACE, FACE, 3), np.uint8)
    for i, (frame, (x, y), side) in enumerate(zip(frames, centres, sides, strict=True)):
        scale = FACE / (_FACE_SHARE * side)
        matrix = np.array([[scale, 0, FACE / 2 - scale * x], [0, scale, FACE / 2 - scale * y]])
        picture = np.ascontiguousarray(frame[..., ::-1])
        out[i] = cv2.warpAffine(picture, matrix, (FACE, FACE), borderValue=(110, 110, 110))
    return out


@torch.no_grad()
def syncnet_figures(net: SyncNet, faces: np.ndarray, sound: np.ndarray) -> dict[str, float]:
    """lse_c, lse_d and lse_lag (frames by which the lips are late) of faces at 25 a second.

    Raises ValueError for fewer than ten frames.
    """
    if len(faces) < 2 * FRAMES:
        raise ValueError(f"expected at least {2 * FRAMES} faces, got {len(faces)}")
    heard_all = mfcc(sound)
    count = min(len(faces), len(heard_all) // 4) - FRAMES
    seen, heard = [], []
    for start in range(0, count, 20):
        at = range(start, min(start + 20, count))
        windows = np.stack([faces[i : i + FRAMES] for i in at])
        seen.append(net.see(torch.from_numpy(windows).permute(0, 4, 1, 2, 3).float()))
        pieces = np.stack([heard_all[4 * i : 4 * i + 20].T for i in at])[:, None]
        heard.append(net.hear(torch.from_numpy(pieces).float()))
    return from_distances(torch.cat(seen), torch.cat(heard))


def from_distances(seen: Tensor, heard: Tensor) -> dict[str, float]:
    """The three figures from vectors [n, d] of lips and of sound at the same frames."""
    n = len(seen)
    padded = torch.nn.functional.pad(heard, (0, 0, MOST_LAG, MOST_LAG))
    curve = torch.stack(
        [
            torch.linalg.norm(seen - padded[k : k + n] + 1e-6, dim=1).mean()
            for k in range(2 * MOST_LAG + 1)
        ]
    )
    best = int(curve.argmin())
    return {
        "lse_c": float(curve.median() - curve[best]),
        "lse_d": float(curve[best]),
        "lse_lag": float(MOST_LAG - best),
    }
