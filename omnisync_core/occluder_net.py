"""The occlusion-aware network: which pixels of a crop something covers that is not the face.

In: standard crops f32 [b 3 s s] in [-1, 1], any side, and with each, where there is one, a clear
crop of the same face from another moment: what is new is easier to tell from a face than what is
strange. Out: the occluder's share of every pixel [b s s] in [0, 1]. A small vision transformer
(Dosovitskiy et al. 2021) over a convolutional stem (Xiao et al. 2021), whose finer maps come back
for the edges. Trained by training/occluder_net.py on rendered heads and GRID crops with drawn
occluders. Where it is unsure, the colours decide: GrabCut (Rother et al. 2004) when cv2 is
installed (the extra `flow`).
"""

from __future__ import annotations

from pathlib import Path
from threading import Thread

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from safetensors import safe_open
from torch import Tensor, nn

from .layers import Attention, FeedForward, rotary
from .occlusion import TEETH_REACH, mouth_area
from .optical_flow import opencv

WEIGHTS = Path(__file__).parent / "weights" / "occluder.safetensors"
FORMAT = "omnisync-occluder-3"
SIDE = 144
"""Crops are seen at this side, the embedded model's own."""
_WIDTH, _HEADS, _DEPTH = 96, 3, 3
_SEEN = 3 + 3 + 1  # colours of the crop, of the clear one, and whether there is one
# Shares of the network below which GrabCut takes a pixel for certainly face, and from which for
# probably the thing. In the mouth, which opens and has colours of things, what the frame before did
# not show as one must be surer; at once, that costs fingers (docs/LOG.md).
_FACE, _FACE_IN_MOUTH, _LIKELY = 0.001, 0.1, 0.5
# Where GrabCut leaves less than this of what the network takes for the thing, colours say nothing.
_CUT_FAILED = 0.5
# Fewer pixels have no colours to speak of: GrabCut fits two mixtures of five.
_FEWEST = 20


def _conv(c: int, d: int, *, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(c, d, 3, stride, 1, bias=False), nn.BatchNorm2d(d), nn.ReLU(inplace=True)
    )


class _Block(nn.Module):
    """Pre-norm attention and feed-forward over the tokens [b n d] of a picture."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(_WIDTH), Attention(_WIDTH, _HEADS)
        self.norm_feed, self.feed = nn.LayerNorm(_WIDTH), FeedForward(_WIDTH)

    def forward(self, x: Tensor, positions: tuple[Tensor, Tensor]) -> Tensor:
        x = x + self.attention(self.norm(x), positions=positions)
        return x + self.feed(self.norm_feed(x))


class OccluderNet(nn.Module):
    """What `beside` makes of crops [b 7 144 144] -> logits [b 144 144]; `find` takes any side."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv(_SEEN, 16, stride=2)  # 72
        self.stem_quarter = nn.Sequential(_conv(16, 32, stride=2), _conv(32, 32))  # 36
        self.patches = nn.Conv2d(32, _WIDTH, 4, 4)  # 9 x 9 tokens
        self.place = nn.Parameter(torch.zeros(1, _WIDTH, SIDE // 16, SIDE // 16))
        self.blocks = nn.ModuleList([_Block() for _ in range(_DEPTH)])
        self.back = nn.Conv2d(_WIDTH, 32 * 16, 1)
        self.join_quarter = nn.Sequential(_conv(64, 32), _conv(32, 32))
        self.join_half = _conv(32 + 16, 16)
        # Squares of 2 x 2 pixels as channels: a hair is a pixel wide.
        self.fine = nn.Sequential(nn.PixelUnshuffle(2), _conv(4 * _SEEN, 32))
        self.out = nn.Sequential(
            _conv(16 + 32, 32), _conv(32, 32), nn.Conv2d(32, 4, 3, padding=1), nn.PixelShuffle(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        half = self.stem(x)
        quarter = self.stem_quarter(half)
        tokens = self.patches(quarter) + self.place
        rows = torch.arange(tokens.shape[-1], device=x.device)
        grid = torch.stack(torch.meshgrid(rows, rows, indexing="ij"), -1).flatten(0, 1)
        positions = rotary(grid, _WIDTH // _HEADS)
        y = rearrange(tokens, "b d y x -> b (y x) d")
        for block in self.blocks:
            y = block(y, positions)
        y = rearrange(y, "b (y x) d -> b d y x", y=tokens.shape[-1])
        y = F.pixel_shuffle(self.back(y), 4)
        y = self.join_quarter(torch.cat([y, quarter], 1))
        y = self.join_half(torch.cat([F.interpolate(y, scale_factor=2, mode="bilinear"), half], 1))
        y = self.out(torch.cat([y, self.fine(x)], 1))
        return y[:, 0]

    @classmethod
    def load(cls, path: Path | None = None) -> OccluderNet:
        """Weights from a safetensors file; ValueError when it holds something else."""
        net = cls()
        with safe_open(str(path or WEIGHTS), framework="pt") as file:
            if (found := (file.metadata() or {}).get("format")) != FORMAT:
                raise ValueError(
                    f"expected occluder weights of format {FORMAT!r} in {path or WEIGHTS}, got "
                    f"{found!r}; use the file that came with this version"
                )
            net.load_state_dict({key: file.get_tensor(key).float() for key in file.keys()})
        return net.eval().requires_grad_(False)

    @torch.inference_mode()
    def find(
        self, crops: Tensor, clear: Tensor | None = None, before: Tensor | None = None
    ) -> Tensor:
        """Crops [b 3 s s] in [-1, 1] -> masks [b s s] in [0, 1], on the crops' device.

        clear: a crop of each face without a thing, of about the same pose; before: the masks
        [b s s] of the frames before.
        """
        side = crops.shape[-1]
        seen = beside(crops.float(), clear)
        if side != SIDE:
            seen = F.interpolate(seen, (SIDE, SIDE), mode="bilinear", antialias=True)
        masks = torch.sigmoid(self(seen))
        known = torch.zeros_like(masks)
        if before is not None:
            known = F.interpolate(before.to(masks)[:, None], (SIDE, SIDE), mode="bilinear")[:, 0]
        rows = zip(seen[:, :3], masks, known, strict=True)
        mask = torch.stack([along_edges(*row) for row in rows])[:, None]
        if side != SIDE:
            mask = F.interpolate(mask, (side, side), mode="bilinear", antialias=True)
        return mask[:, 0]


def beside(crops: Tensor, clear: Tensor | None) -> Tensor:
    """Crops [b 3 s s], clear ones of the same faces (None: there are none), and whether there are:
    [b 7 s s]."""
    known = torch.full_like(crops[:, :1], float(clear is not None))
    return torch.cat([crops, torch.zeros_like(crops) if clear is None else clear, known], 1)


def thin_parts(masks: Tensor) -> Tensor:
    """What of masks [b s s] in [0, 1] is at most four pixels wide: all but their opening (Serra
    1982)."""
    opened = -F.max_pool2d(-masks[:, None], 5, stride=1, padding=2)
    return (masks - F.max_pool2d(opened, 5, stride=1, padding=2)[:, 0]).clamp(min=0)


def along_edges(crop: Tensor, mask: Tensor, before: Tensor) -> Tensor:
    """The mask [s s] of a crop [3 s s] in [-1, 1], drawn along the edges of the thing's colours;
    before: the mask of the frame before, or zeros.

    As it is where it is thin, where the colours do not tell the thing from the face (hair, a
    finger) or there is only one of the two, and without OpenCV.
    """
    cv2 = opencv()
    found = mask.cpu().numpy()
    labels = np.full(found.shape, 2, np.uint8)  # GC_PR_BGD: probably face
    sure = found > _LIKELY
    labels[sure] = 3  # GC_PR_FGD
    labels[found < _FACE] = 0  # GC_BGD
    there = before.cpu().numpy() > 0.5
    if there.any():
        mouth = mouth_area(found.shape[-1], grown=TEETH_REACH)[0].numpy() > 0
        labels[mouth & ~there & (found < _FACE_IN_MOUTH)] = 0
    thing = np.count_nonzero(labels % 2)
    if cv2 is None or min(thing, labels.size - thing) < _FEWEST:
        return mask
    picture = ((crop.cpu() + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    picture = np.ascontiguousarray(picture[..., ::-1])

    def cut() -> None:
        models = np.zeros((1, 65)), np.zeros((1, 65))
        cv2.grabCut(picture, labels, None, *models, 1, cv2.GC_INIT_WITH_MASK)

    # GrabCut draws lots from its thread's generator: in a new one they are the same every time,
    # and the host's stay as they were.
    thread = Thread(target=cut)
    thread.start()
    thread.join()
    labels %= 2
    if labels[sure].mean() < _CUT_FAILED:
        return mask
    whole = torch.from_numpy(labels).to(mask)
    whole = F.avg_pool2d(whole[None], 3, stride=1, padding=1, count_include_pad=False)[0]
    # A strand has hardly a pixel of its own colour, so GrabCut gives it to the face.
    thin = thin_parts(torch.from_numpy(sure)[None].to(mask))[0]
    return torch.maximum(whole, mask * thin)
