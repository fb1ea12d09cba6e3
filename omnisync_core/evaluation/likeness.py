"""Whose face is it, and how far are two sets of pictures apart?

The embedder is training/embedder.py's: one of the user's (then the cosine may be called identity)
or features of the locator that ships (then it is a likeness, never identity). Set distances: the
Fréchet distance and the kernel distance on the backbone of the user's (FID, KID, FVD where it is
Inception-v3 or I3D) or, clearly other-named, on the locator's 96 maps (`fd_own`, `kd_own`).
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from scipy.linalg import sqrtm
from torch.nn import functional as F

from ..errors import UserError
from ..training.embedder import Embedder, load_embedder

FACE, EVERY = 112, 5
"""Side of the crops; every fifth frame is looked at."""
_CLIP = 16  # frames of a video backbone


@lru_cache(maxsize=2)
def _embedder(name: str) -> Embedder:
    return load_embedder(name)


def _tensor(crops: np.ndarray) -> torch.Tensor:
    """uint8 [n, h, w, 3] -> [n, 3, h, w] in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(crops)).permute(0, 3, 1, 2).float() / 127.5 - 1


@torch.no_grad()
def embed(crops: np.ndarray, name: str = "locator") -> np.ndarray:
    """Unit vectors [n, d] of crops uint8 [n, 112, 112, 3]."""
    return _embedder(name)(_tensor(crops)).numpy()


@torch.no_grad()
def own_features(crops: np.ndarray) -> np.ndarray:
    """Features [n, 96] of crops for set distances: means of the locator's maps."""
    embedder = _embedder("locator")
    small = F.interpolate(_tensor(crops), (embedder.side,) * 2, mode="bilinear", antialias=True)
    return embedder.net(small).mean((2, 3)).numpy()


@lru_cache(maxsize=2)
def load_backbone(path: Path) -> torch.jit.ScriptModule:
    """A TorchScript backbone of the user's."""
    try:
        return torch.jit.load(str(path), map_location="cpu").eval()
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(
            f"Expected a backbone as a TorchScript file; {path} is none "
            f"({str(error).splitlines()[0]}). Save it with torch.jit.script or torch.jit.trace."
        ) from None


@torch.no_grad()
def backbone_features(path: Path, crops: np.ndarray, *, video: bool) -> np.ndarray:
    """Features [n, d] of a user's backbone from crops uint8 [n, s, s, 3].

    Pictures go in as [n, 3, 299, 299], clips of 16 frames as [n, 3, 16, 224, 224], in [-1, 1].
    Raises UserError for a network that does not give one vector each.
    """
    size = 224 if video else 299
    pictures = F.interpolate(_tensor(crops), (size, size), mode="bilinear", antialias=True)
    if video:
        count = len(pictures) // _CLIP
        pictures = pictures[: count * _CLIP].unflatten(0, (count, _CLIP)).transpose(1, 2)
    try:
        found = torch.cat([load_backbone(path)(one[None]) for one in pictures])
    except (RuntimeError, TypeError) as error:
        found = str(error).splitlines()[-1]
    if isinstance(found, str) or found.ndim != 2:
        got = found if isinstance(found, str) else f"shape {tuple(found.shape)}"
        raise UserError(
            "Expected a backbone that gives one vector [1, d] for an input of "
            f"{tuple(pictures[:1].shape)}; {path} gave {got}. Make it return pooled features."
        )
    return found.numpy()


def steadiness(vectors: np.ndarray, source: np.ndarray) -> dict[str, float]:
    """Mean and least cosine to the source's vectors [n, d], and drift: first less last third."""
    cosines = (vectors * source[: len(vectors)]).sum(1)
    third = max(len(cosines) // 3, 1)
    drift = cosines[:third].mean() - cosines[-third:].mean()
    return {
        "likeness": float(cosines.mean()),
        "likeness_least": float(cosines.min()),
        "likeness_drift": float(drift),
    }


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """Fréchet distance of the Gaussians of two sets of features [n, d] (Heusel et al., 2017)."""
    first, second = np.cov(a.T), np.cov(b.T)
    # A little on the diagonal where there are fewer pictures than features.
    ridge = 1e-6 * np.eye(len(first))
    mixed = np.real(sqrtm((first + ridge) @ (second + ridge)))
    apart = a.mean(0) - b.mean(0)
    return float(apart @ apart + np.trace(first) + np.trace(second) - 2 * np.trace(mixed))


def kernel_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Unbiased squared MMD with the kernel (x.y / d + 1)^3 (KID; Binkowski et al., 2018)."""

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x.astype(np.float64) @ y.T.astype(np.float64) / x.shape[1] + 1) ** 3

    own = 0.0
    for x in (a, b):
        k = kernel(x, x)
        own += (k.sum() - np.trace(k)) / (len(x) * (len(x) - 1))
    return float(own - 2 * kernel(a, b).mean())
