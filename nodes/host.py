"""The border to ComfyUI: the only file that touches `comfy.*`, `comfy_api` and `folder_paths`.

In: the host's MODEL files, IMAGE [f, h, w, c] in 0..1, AUDIO mappings, VIDEO objects. Out: what
`omnisync_core` takes (uint8 frames [f h w 3], samples f32 [channels, n] and their rate, file
paths), and back. Without a host every function falls back to plain use: a VIDEO is then a path,
devices are torch's own, progress is not shown.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..omnisync_core.errors import UserError
from . import sounds
from .sockets import LoadedModel

if TYPE_CHECKING:
    from ..omnisync_core.progress import Progress

EMBEDDED = "mini (embedded)"
AUTO = "auto"
DTYPES = ("float32", "bfloat16", "float16")
_FOLDER = "omnisync"
# Share of the bar that finding the mouth takes; it costs about a fifth of a run with few steps.
_LOCATING = 0.2
_BAR = 1000
# A preview costs a JPEG and a message: no more than two a second.
_PREVIEW_EVERY = 0.5


def _host(name: str) -> Any:
    """A module of ComfyUI, or None outside of it."""
    try:
        return import_module(name)
    except ImportError:
        return None


# Models


def model_names() -> list[str]:
    """What the loader offers: the embedded model, then the files in models/omnisync."""
    return [EMBEDDED, *_model_files()]


def _model_files() -> list[str]:
    folders = _host("folder_paths")
    if folders is None:
        return []
    # Here and not at import: importing the pack changes no table of the host.
    folders.add_model_folder_path(_FOLDER, str(Path(folders.models_dir) / _FOLDER))
    names = folders.get_filename_list(_FOLDER)
    return [name for name in names if name.lower().endswith((".safetensors", ".sft"))]


def model_path(name: str) -> str | Path:
    """The name or path that the core's `load_model` takes. Raises UserError for a missing file."""
    if name == EMBEDDED:
        return "mini"
    folders = _host("folder_paths")
    found = folders.get_full_path(_FOLDER, name) if folders and name in _model_files() else name
    if found is None or not Path(found).is_file():
        where = Path(folders.models_dir) / _FOLDER if folders else "the folder that you named"
        raise UserError(
            f"model: expected {EMBEDDED!r} or a .safetensors file in {where}, got {name!r}; "
            "copy the file there and refresh the page."
        )
    return Path(found)


def load(name: str = EMBEDDED, *, device: str = AUTO, dtype: str = AUTO) -> LoadedModel:
    """Load a model for the host's device ("auto") or the CPU; dtype "auto" is the host's choice.

    Raises UserError for a missing file.
    """
    from ..omnisync_core.checkpoint import load_model

    management = _host("comfy.model_management")
    if management is None:
        target = _own_device() if device == AUTO else torch.device(device)
        precision = torch.float32 if dtype == AUTO else getattr(torch, dtype)
        return LoadedModel(load_model(model_path(name), device=target, dtype=precision), name)
    target = management.get_torch_device() if device == AUTO else torch.device("cpu")
    precision = _chosen_dtype(management, target) if dtype == AUTO else getattr(torch, dtype)
    home = management.unet_offload_device() if device == AUTO else target
    network = load_model(model_path(name), device=home, dtype=precision)
    for part in (network.encoder, *network.transformer.blocks):
        # A step of a large window on a slow machine takes seconds, a long voice minutes; Cancel
        # waits for one block of the one and one segment of the other.
        part.register_forward_pre_hook(lambda *_: check_cancel())
    patcher = import_module("comfy.model_patcher").ModelPatcher(
        network, load_device=target, offload_device=home
    )
    return LoadedModel(network, name, patcher)


def _chosen_dtype(management: Any, device: torch.device) -> torch.dtype:
    """What the host runs its own models in on that device; on a CPU float32.

    Either half precision moves the embedded model's edit by less than a grey level (docs/LOG.md);
    bfloat16 comes first because nothing overflows in it.
    """
    able = [torch.bfloat16, torch.float16, torch.float32]
    chosen = management.unet_dtype(device=device, supported_dtypes=able)
    return chosen if chosen in able else torch.float32  # a flag may ask for fp8 or fp64


def check_cancel() -> None:
    """Raises the host's own exception when the user has pressed Cancel; every loop asks."""
    if management := _host("comfy.model_management"):
        management.throw_exception_if_processing_interrupted()


def _own_device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def ready(model: LoadedModel) -> Any:
    """The network, on its device: ComfyUI makes room for it first."""
    if model.patcher is not None:
        import_module("comfy.model_management").load_models_gpu(
            [model.patcher], force_full_load=True
        )
    return model.network


# Progress and cancel


def progress(*, stages: tuple[str, ...] = ("locate", "edit")) -> Callable[[Progress], None] | None:
    """A callback for the core that moves the node's bar, shows the mouth, and stops when told to.

    stages: those that the run has; with one of them the whole bar is its own.
    """
    utils, management = _host("comfy.utils"), _host("comfy.model_management")
    if utils is None or management is None:
        return None
    bar, last_preview = utils.ProgressBar(_BAR), 0.0

    def show(step: Progress) -> None:
        nonlocal last_preview
        management.throw_exception_if_processing_interrupted()
        done = min(1.0, step.done / max(step.total, 1))
        if len(stages) == 2:
            located = step.stage == "locate"
            done = _LOCATING * done if located else _LOCATING + (1 - _LOCATING) * done
        preview, now = None, time.monotonic()
        if step.preview is not None and now - last_preview > _PREVIEW_EVERY:
            preview, last_preview = _picture(step.preview), now
        bar.update_absolute(round(_BAR * done), _BAR, preview)

    return show


def counted(items: Iterable[Any], total: int, show: Callable[[Progress], None] | None):
    """The same items, one by one; each one moves the bar on and is a chance to stop."""
    from ..omnisync_core.progress import Progress

    for done, item in enumerate(items, 1):
        if show is not None:
            show(Progress("edit", done, total))
        yield item


def _picture(crop: Tensor) -> tuple[str, Any, int]:
    """A crop [3 h w] in [-1, 1] as the host's previews want it."""
    pixels = ((crop.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    return ("JPEG", import_module("PIL.Image").fromarray(pixels), 256)


# IMAGE


def check_images(images: Any, *, name: str = "images") -> None:
    """Raise UserError unless it is an IMAGE batch [f, h, w, 3 or 4] with something in it."""
    if not isinstance(images, Tensor) or images.ndim != 4 or images.shape[-1] not in (3, 4):
        came = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise UserError(
            f"{name}: expected an IMAGE batch [frames, height, width, 3 or 4 colours], got {came}."
        )
    if 0 in images.shape:
        raise UserError(
            f"{name}: expected at least one frame and one pixel, got {tuple(images.shape)}."
        )


def images_to_core(images: Any, *, name: str = "images") -> np.ndarray:
    """IMAGE [f, h, w, 3 or 4] in 0..1 -> uint8 [f h w 3]. Raises UserError for anything else."""
    check_images(images, name=name)
    frames = np.empty((*images.shape[:3], 3), np.uint8)
    for i, image in enumerate(images):
        check_cancel()
        image = image[..., :3].float().cpu()
        if not torch.isfinite(image).all():
            raise UserError(
                f"{name}: frame {i} holds values that are not numbers (NaN or infinite); "
                "look at the node that made it (often a VAE in half precision)."
            )
        frames[i] = (image.clamp(0, 1) * 255).round().byte().numpy()
    return frames


def image(picture: np.ndarray) -> Tensor:
    """One picture uint8 [h w 3] -> IMAGE [1 h w 3]."""
    return torch.from_numpy(picture.copy())[None].float() / 255


def images_from_core(edited: Iterable[np.ndarray], source: np.ndarray, images: Tensor) -> Tensor:
    """Edited uint8 frames -> IMAGE; a value that equals the source's is the very input value."""
    result = images.clone()
    for i, frame in enumerate(edited):
        check_cancel()
        changed = torch.from_numpy(frame != source[i])
        values = torch.from_numpy(frame)[changed].to(result) / 255
        result[i, ..., :3][changed.to(result.device)] = values
    return result


# MASK


def check_mask(mask: Any, *, name: str = "mask") -> Tensor:
    """A MASK [h w] or [f h w] -> f32 [f h w] in 0..1 on the CPU. Raises UserError otherwise."""
    if not isinstance(mask, Tensor) or mask.ndim not in (2, 3) or 0 in mask.shape:
        came = tuple(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
        raise UserError(f"{name}: expected a MASK [frames, height, width], got {came}.")
    return (mask if mask.ndim == 3 else mask[None]).float().cpu().clamp(0, 1)


# The host's own sampling


def predict(model: Any, conditional: list, x: Tensor, sigma: Tensor, options: dict) -> Tensor:
    """One pass of a model of the host's under one list of conditions -> its clean picture."""
    samplers = import_module("comfy.samplers")
    return samplers.calc_cond_batch(model, [conditional], x, sigma, options)[0]


def guider(model: Any, positive: Any, negative: Any, cfg: float) -> Any:
    """MODEL and CONDITIONING -> GUIDER with the host's own guidance."""
    made = import_module("comfy.samplers").CFGGuider(model)
    conds = {"positive": positive, "negative": negative}
    made.inner_set_conds({name: cond for name, cond in conds.items() if cond is not None})
    made.set_cfg(cfg)
    return made


# VIDEO


def temporary(suffix: str) -> Path:
    """A new name in the host's temp folder, which the host clears when it starts."""
    folders = _host("folder_paths")
    folder = Path(folders.get_temp_directory() if folders else tempfile.gettempdir())
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"omnisync_{uuid.uuid4().hex[:12]}{suffix}"


def work_folder(path: Path) -> Path | None:
    """Where finished windows of an edit of that file wait: the same prompt, queued again after a
    cancel or an error, goes on from them. None for a temporary copy, which is another each time."""
    name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]
    folder = temporary("").with_name(f"omnisync_{name}.work")
    copied = path.parent == folder.parent and path.name.startswith("omnisync_")
    return None if copied else folder


@contextmanager
def video_file(video: Any, *, name: str = "video") -> Iterator[Path]:
    """VIDEO -> a file of it, for as long as the block lasts; the user's trim is kept.

    Raises UserError for what is neither a VIDEO nor a path.
    """
    if isinstance(video, (str, Path)):
        yield Path(video)
        return
    if not hasattr(video, "save_to"):
        raise UserError(f"{name}: expected a VIDEO, got {type(video).__name__}.")
    source = None if _is_edited(video) or _is_in_memory(video) else _stream_source(video)
    if isinstance(source, (str, Path)):
        yield Path(source)
        return
    copy = temporary(".mkv" if _is_in_memory(video) else ".mp4")
    try:
        if _is_in_memory(video):
            _write_frames(video, copy)
        elif isinstance(source, io.BytesIO):
            copy.write_bytes(source.getbuffer())
        else:
            video.save_to(str(copy))
        yield copy
    finally:
        copy.unlink(missing_ok=True)


def _is_edited(video: Any) -> bool:
    """Whether a trim or crop is pending, which the file underneath does not show."""
    window = getattr(video, "get_active_trim_window", lambda: (0.0, 0.0))()
    return any(window) or bool(getattr(video, "has_pending_frame_edits", lambda: False)())


def _is_in_memory(video: Any) -> bool:
    api = _host("comfy_api.latest")
    return api is not None and isinstance(video, api.InputImpl.VideoFromComponents)


def _stream_source(video: Any) -> str | io.BytesIO | None:
    try:
        return video.get_stream_source()
    except (AttributeError, ValueError):  # not every kind has one on every version
        return None


def _write_frames(video: Any, path: Path) -> None:
    """Frames in memory -> a file without loss; the host's own `save_to` would compress them."""
    from ..omnisync_core.media import FrameWriter

    parts = video.get_components()
    frames = images_to_core(parts.images, name="video")
    height, width = frames.shape[1:3]
    rate = Fraction(parts.frame_rate)
    with FrameWriter(path, width=width, height=height, rate=rate, lossless=True) as writer:
        for frame in frames:
            writer.write(frame)


def video_from_file(path: Path) -> Any:
    """A finished file -> VIDEO; outside ComfyUI the path itself."""
    api = _host("comfy_api.latest")
    return path if api is None else api.InputImpl.VideoFromFile(str(path))


def video_from_images(
    frames: Iterable[np.ndarray], sound: Any, *, fps: float, metadata: Mapping[str, str]
) -> Any:
    """Edited frames uint8 [h w 3] and AUDIO -> VIDEO: a file that says that it was edited."""
    from ..omnisync_core.media import FrameWriter

    frames = list(frames)
    height, width = frames[0].shape[:2]
    seconds, path = len(frames) / fps, temporary(".mp4")
    with FrameWriter(
        path,
        width=width,
        height=height,
        rate=exact_rate(fps),
        audio=sounds.audio_to_core(sound, seconds=seconds),
        seconds=seconds,
        metadata=metadata,
    ) as writer:
        for frame in frames:
            writer.write(frame)
    return video_from_file(path)


def exact_rate(fps: float) -> Fraction:
    """29.97002997... as a widget or link carries it -> 30000/1001."""
    return Fraction(fps).limit_denominator(1001)


def shown(result: tuple, **ui: Any) -> Any:
    """A node's outputs, and beside them what the page shows under the node."""
    if _host("comfy_execution.graph_utils") is None:
        return result
    return {"ui": {name: [value] for name, value in ui.items()}, "result": result}


def blocked(reason: str) -> Any:
    """For an output that has nothing to give: nodes behind it do not run and show the reason."""
    graph = _host("comfy_execution.graph_utils")
    return None if graph is None else graph.ExecutionBlocker(reason)
