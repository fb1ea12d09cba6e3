"""The pack, loaded as ComfyUI loads it (by path, under its own name), and tiny models for it."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def pack() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "omnisync_pack", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules["omnisync_pack"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def nodes(pack) -> SimpleNamespace:
    """The node classes by id without the prefix: nodes.LipSync()."""
    return SimpleNamespace(
        **{name.removeprefix("OmniSync"): node for name, node in pack.NODE_CLASS_MAPPINGS.items()}
    )


def _write_model(path: Path, *, trained: bool, crop: int = 32) -> Path:
    from omnisync_pack.omnisync_core.checkpoint import save_model
    from omnisync_pack.omnisync_core.config import preset
    from omnisync_pack.omnisync_core.model import OmniSync

    torch.manual_seed(0)
    config = preset(
        "mini",
        width=32,
        heads=2,
        depth=2,
        detail_width=4,
        crop=crop,
        audio_width=32,
        audio_heads=2,
        audio_depth=2,
    )
    model = OmniSync(config)
    if trained:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.05 * torch.randn_like(parameter)
    save_model(model, path)
    return path


@pytest.fixture(scope="session")
def tiny_file(pack, tmp_path_factory) -> Path:
    """A model file whose gates are open: it changes what it is given."""
    return _write_model(tmp_path_factory.mktemp("models") / "tiny.safetensors", trained=True)


@pytest.fixture(scope="session")
def other_file(pack, tmp_path_factory) -> Path:
    """A model of another crop size."""
    path = tmp_path_factory.mktemp("models") / "other.safetensors"
    return _write_model(path, trained=True, crop=48)


@pytest.fixture
def tiny(nodes, tiny_file):
    return nodes.ModelLoader().load(str(tiny_file), device="cpu")[0]


@pytest.fixture
def untrained(nodes, pack, tmp_path):
    path = _write_model(tmp_path / "untrained.safetensors", trained=False)
    return nodes.ModelLoader().load(str(path), device="cpu")[0]


@pytest.fixture
def images() -> torch.Tensor:
    """Six frames of moving noise that no 8-bit format holds exactly."""
    generator = torch.Generator().manual_seed(1)
    return torch.rand(6, 40, 48, 3, generator=generator)


@pytest.fixture
def audio() -> dict:
    """A stereo tone of a quarter second at 44.1 kHz, as ComfyUI hands it over."""
    t = torch.arange(11025) / 44100
    return {"waveform": 0.3 * torch.sin(440 * 6.28 * t).expand(1, 2, -1), "sample_rate": 44100}


@pytest.fixture
def clip(pack, tmp_path) -> Path:
    """A video file of 6 frames at 25 fps, 48 x 40, without loss."""
    from fractions import Fraction

    from omnisync_pack.omnisync_core.media import FrameWriter

    path = tmp_path / "clip.mp4"
    frames = np.random.default_rng(2).integers(0, 255, (6, 40, 48, 3), dtype=np.uint8)
    with FrameWriter(path, width=48, height=40, rate=Fraction(25), lossless=True) as writer:
        for frame in frames:
            writer.write(frame)
    return path


@pytest.fixture
def fake_host(monkeypatch, tmp_path) -> SimpleNamespace:
    """Stand-ins for the host's modules that remember what was asked of them."""
    seen = SimpleNamespace(bar=[], previews=[], loaded=[], interrupted=False, models=tmp_path)

    class ProgressBar:
        def __init__(self, total):
            self.total = total

        def update_absolute(self, value, total, preview):
            seen.bar.append(value / total)
            if preview is not None:
                seen.previews.append(preview)

    def check():
        if seen.interrupted:
            raise KeyboardInterrupt

    def add_folder(name, path):
        seen.folder = (name, path)

    (tmp_path / "omnisync").mkdir()
    found = lambda name: sorted(p.name for p in (tmp_path / name).iterdir())  # noqa: E731
    modules = {
        "comfy": {},
        "comfy.utils": {"ProgressBar": ProgressBar},
        "comfy.model_management": {
            "get_torch_device": lambda: torch.device("cpu"),
            "unet_offload_device": lambda: torch.device("cpu"),
            "load_models_gpu": lambda patchers, **_: seen.loaded.extend(patchers),
            "throw_exception_if_processing_interrupted": check,
        },
        "comfy.model_patcher": {
            "ModelPatcher": lambda model, **devices: SimpleNamespace(model=model, **devices)
        },
        "folder_paths": {
            "models_dir": str(tmp_path),
            "add_model_folder_path": add_folder,
            "get_filename_list": found,
            "get_full_path": lambda folder, name: str(tmp_path / folder / name),
            "get_temp_directory": lambda: str(tmp_path / "temp"),
        },
    }
    for name, members in modules.items():
        module = ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)
    return seen


@pytest.fixture(scope="session")
def widget_fields():
    """The fields of a form that are typed in, in order: (name, type, options)."""
    typed = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COMFY_DYNAMICCOMBO_V3"}

    def find(form: dict) -> list[tuple]:
        found = []
        for group in ("required", "optional"):
            for name, (kind, *options) in form.get(group, {}).items():
                if isinstance(kind, list) or kind in typed:
                    found.append((name, kind, options[0] if options else {}))
        return found

    return find
