"""OmniSync's guidance and start point for the audio-driven models that the host itself runs.

In: the host's MODEL, LATENT, SIGMAS. A model's prediction under three conditions (no audio, audio
without its order, all of the audio) is mixed by the core's `st_cfg`: a mixture whose weights sum to
1 is the same for velocities and for the clean pictures that the host's samplers pass around. The
host's classifier-free guidance goes on as before, with the mixture in place of the conditional
prediction; so do other nodes' hooks.

How a model hears, and so how its silence is made:

    Wan2.2-S2V    audio_embed [1, layers, width, frames] among the conditions
    HuMo          audio_embed [1, latent frames, 8, 5, width] among the conditions
    InfiniteTalk  audio_embeds [speakers, latent frames, tokens, width] among transformer options
    LTX audio-video  a second latent beside the picture's; silence cuts its cross-attention. It has
                  no form without order: both scales act as temporal_scale there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..omnisync_core.config import Profile
from ..omnisync_core.errors import UserError
from ..omnisync_core.flow_init import NoiseStream
from ..omnisync_core.guidance import st_cfg
from . import host

_CONDITION, _OPTION = "audio_embed", "audio_embeds"
# The switches of the host's own modality guidance.
_CROSS = ("a2v_cross_attn", "v2a_cross_attn")
# Which dimensions of an embedding run along time, by its number of dimensions.
_TIME = {4: (3,), 5: (1, 2)}


@dataclass(frozen=True)
class Guide:
    """What the host calls before its own guidance: its sampler_pre_cfg_function."""

    spatial_scale: float
    temporal_scale: float
    profile: Profile
    floor: float
    """Share of the guidance that remains where the mask is black."""
    mask: Tensor | None
    """[f h w] in [0, 1], white on the mouth; None: the whole picture."""

    def __call__(self, args: dict[str, Any]) -> list[Any]:
        """args: the host's; returns its predictions, the conditional one guided."""
        predictions, x = list(args["conds_out"]), args["input"]
        conditional = args["conds"][0]
        if conditional is None:
            return predictions
        shapes = getattr(args["model"], "latent_shapes", None) or [x.shape]
        heard = _Heard(args, conditional, joint=len(shapes) > 1)

        def predict(_x: Tensor, _t: float, names: tuple[str, ...]) -> list[Tensor]:
            return [
                _picture(predictions[0] if name == "audio" else heard.without(name), shapes[0])
                for name in names
            ]

        mix = st_cfg(
            predict,
            spatial_scale=self.temporal_scale if heard.joint else self.spatial_scale,
            temporal_scale=self.temporal_scale,
            profile=self.profile,
            mouth_map=self._map(shapes[0]),
        )
        guided = mix(_picture(x, shapes[0]), flow_time(args["model"], args["sigma"]))
        predictions[0] = _with_picture(predictions[0], guided)
        return predictions

    def _map(self, shape: Sequence[int]) -> Tensor | None:
        if self.mask is None:
            return None
        soft = self.floor + (1 - self.floor) * to_latent(self.mask, shape)
        # SVD and its like have their frames in the batch.
        return soft[None, None] if len(shape) == 5 else soft[:, None]


class _Heard:
    """One moment of a model: its predictions under other audio, each made when first asked for."""

    def __init__(self, args: dict[str, Any], conditional: list[dict], *, joint: bool) -> None:
        self._args, self._conditional = args, conditional
        self.joint = joint
        self._by_condition = any(_CONDITION in _embeds(entry) for entry in conditional)
        self._by_option = _OPTION in args["model_options"].get("transformer_options", {})
        if not (self._by_condition or self._by_option or joint):
            raise UserError(
                "OmniSync Lip Guidance: expected a model that hears a voice (Wan2.2-S2V, HuMo, "
                "InfiniteTalk, LTX audio-video) with its audio connected, got one without audio; "
                "connect the conditioning of that model's own sound node."
            )

    def without(self, name: str) -> Tensor:
        """The prediction for "none" or "unordered"."""
        conditional, options = self._conditional, self._args["model_options"]
        if self._by_condition:
            conditional = [_changed(entry, name) for entry in conditional]
        if self._by_option or self.joint:
            transformer = dict(options["transformer_options"])
            if self._by_option:
                transformer[_OPTION] = _altered(transformer[_OPTION], name, time=(1,))
            if self.joint:
                transformer |= dict.fromkeys(_CROSS, False)
            options = {**options, "transformer_options": transformer}
        args = self._args
        return host.predict(args["model"], conditional, args["input"], args["sigma"], options)


def _embeds(entry: dict) -> dict[str, Any]:
    return entry.get("model_conds", {})


def _changed(entry: dict, name: str) -> dict:
    """A condition with other audio; everything else is shared."""
    held = _embeds(entry).get(_CONDITION)
    if held is None:
        return entry
    if held.cond.ndim not in _TIME:
        raise UserError(
            "OmniSync Lip Guidance: expected audio of Wan2.2-S2V (4 dimensions) or HuMo (5), got "
            f"{tuple(held.cond.shape)}; this model is not among those that the node knows."
        )
    other = type(held)(_altered(held.cond, name, time=_TIME[held.cond.ndim]))
    return {**entry, "model_conds": {**_embeds(entry), _CONDITION: other}}


def _altered(embedding: Tensor, name: str, *, time: tuple[int, ...]) -> Tensor:
    """No sound at all, or the mean over time in every moment."""
    if name == "none":
        return torch.zeros_like(embedding)
    return embedding.mean(time, keepdim=True).expand_as(embedding).contiguous()


def _picture(x: Tensor, shape: Sequence[int]) -> Tensor:
    """The picture's part of what is sampled; a joint latent travels as one row [b 1 n]."""
    if tuple(x.shape[1:]) == tuple(shape[1:]):
        return x
    return x[..., : int(np.prod(shape[1:]))].reshape(x.shape[0], *shape[1:])


def _with_picture(x: Tensor, picture: Tensor) -> Tensor:
    if x.shape == picture.shape:
        return picture
    row = picture.reshape(x.shape[0], 1, -1)
    return torch.cat([row, x[..., row.shape[-1] :]], -1)


def _is_flow(model_sampling: Any) -> bool:
    """Flow-matching models count their noise from 0 to 1, all others from 0 to far above."""
    return float(model_sampling.sigma_max) <= 1


def flow_time(model: Any, sigma: Tensor) -> float:
    """The host's noise level as flow time in [0, 1].

    Where noise is added to the picture at full strength (x + sigma eps), division by 1 + sigma
    gives the flow's x_t, at t = sigma / (1 + sigma).
    """
    level = float(sigma.flatten()[0])
    return min(1.0, level) if _is_flow(model.model_sampling) else level / (1 + level)


def noise_level(model_sampling: Any, t: float) -> float:
    """The inverse of `flow_time`."""
    if _is_flow(model_sampling):
        return t
    return t / (1 - t) if t < 1 else float(model_sampling.sigma_max)


def cut_sigmas(sigmas: Tensor, level: float) -> Tensor:
    """The part of a schedule below a noise level, begun at that level; level 0 leaves no step."""
    if level <= 0:
        return sigmas[:0]
    if not len(sigmas) or float(sigmas[0]) <= level:
        return sigmas
    # A step of less than a thousandth would only cost a pass.
    below = sigmas[sigmas < level * 0.999]
    return torch.cat([sigmas.new_tensor([level]), below])


def picture_shape(samples: Any) -> tuple[int, ...]:
    """Shape of a LATENT's picture: of the first part when it is joint with another."""
    return tuple((samples.unbind()[0] if is_joint(samples) else samples).shape)


def is_joint(samples: Any) -> bool:
    return bool(getattr(samples, "is_nested", False))


def to_latent(frames: Tensor, shape: Sequence[int]) -> Tensor:
    """Values [f h w] of pictures -> [t h' w'] of a latent of them, each cell the mean of its own.

    shape: [b c t h' w'], or [t c h' w'] with frames in the batch. A video VAE keeps the first frame
    by itself and joins the later ones in equal groups.
    """
    count, height, width = shape[2 if len(shape) == 5 else 0], *shape[-2:]
    frames = frames.float()
    if len(frames) == 1:
        frames = frames.expand(count, -1, -1)
    small = F.interpolate(frames[:, None], (height, width), mode="area")[:, 0]
    edges = np.round(np.linspace(1, len(small), count)).astype(int)
    groups = [small[:1], *(small[min(a, b - 1) : b] for a, b in pairwise(edges))]
    return torch.stack([group.mean(0) for group in groups])


class WarpedNoise:
    """The host's NOISE: white Gaussian noise that moves with the source's pictures."""

    def __init__(self, seed: int, images: Tensor | None, fresh: Tensor | None) -> None:
        """images [f h w c] in 0..1, None: plain noise; fresh [f h w]: where it does not move."""
        self.seed = seed
        self._images, self._fresh = images, fresh

    def generate_noise(self, latent: dict[str, Any]) -> Any:
        """Noise of the latent's shape, on the CPU."""
        samples = latent["samples"]
        generator = torch.Generator().manual_seed(self.seed)
        if not is_joint(samples):
            return self._noise(samples.shape, generator)
        first, *others = samples.unbind()
        parts = [torch.randn(part.shape, generator=generator) for part in others]
        return type(samples)([self._noise(first.shape, generator), *parts])

    def _noise(self, shape: Sequence[int], generator: torch.Generator) -> Tensor:
        if self._images is None:
            return torch.randn(tuple(shape), generator=generator)
        if len(shape) == 4:
            return torch.stack(self._stream(self.seed, shape))
        # Clips of one batch differ.
        clips = [torch.stack(self._stream(self.seed + k, shape), 1) for k in range(shape[0])]
        return torch.stack(clips)

    def _stream(self, seed: int, shape: Sequence[int]) -> list[Tensor]:
        """One clip's noise, [c h w] for each latent frame."""
        assert self._images is not None
        video = len(shape) == 5
        channels, count = (shape[1], shape[2]) if video else (shape[1], shape[0])
        size = (shape[-2], shape[-1])
        stream = NoiseStream(seed, (channels, *size))
        shown = np.linspace(0, len(self._images) - 1, count).round().astype(int)
        fresh = None if self._fresh is None else to_latent(self._fresh, shape)
        noise = []
        for i, index in enumerate(shown):
            host.check_cancel()
            frame = self._images[index, ..., :3].permute(2, 0, 1)[None].float().cpu()
            small = F.interpolate(frame, size, mode="area")[0] * 2 - 1
            noise.append(stream.next(small, None if fresh is None else fresh[i][None]))
        return noise
