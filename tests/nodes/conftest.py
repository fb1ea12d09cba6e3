"""The pack, loaded as ComfyUI loads it (by path, under its own name), and tiny models for it.

For the tests in a real ComfyUI: COMFYUI_PATH names a checkout of it, COMFYUI_PYTHON its Python when
it is not this one, COMFYUI_FRONTEND the static files of another page than its own. OMNISYNC_DATA
names the folder of real clips; without it the demo clip is used.
"""

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[2]
COMFYUI = os.environ.get("COMFYUI_PATH")


@pytest.fixture(autouse=True)
def own_temporary_folder(monkeypatch, tmp_path) -> Path:
    """Results that nodes hand over as files go with the test."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


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
        patch=8,
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
    seen = SimpleNamespace(
        bar=[], previews=[], loaded=[], interrupted=False, models=tmp_path, dtype=torch.float32
    )

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
            "unet_dtype": lambda device, supported_dtypes: seen.dtype,
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


@dataclass
class Server:
    """One running ComfyUI."""

    base: Path
    url: str
    process: subprocess.Popen = field(repr=False)

    def ask(self, path: str, data: dict | None = None) -> dict:
        body = None if data is None else json.dumps(data).encode()
        with urllib.request.urlopen(self.url + path, body, timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text else {}

    def queue(self, prompt: dict) -> str:
        try:
            page = {"extra_pnginfo": {"workflow": {}}}  # as the page sends it
            return self.ask("/prompt", {"prompt": prompt, "extra_data": page})["prompt_id"]
        except urllib.error.HTTPError as error:
            pytest.fail(f"the prompt was refused: {error.read().decode()}")

    def run(self, prompt: dict, *, limit: float = 400) -> dict:
        """The finished run's history: status and outputs."""
        number, stop = self.queue(prompt), time.monotonic() + limit
        while time.monotonic() < stop:
            if found := self.ask(f"/history/{number}").get(number):
                return found
            time.sleep(0.2)
        pytest.fail(f"not finished after {limit} s")

    def saved(self, run: dict) -> Path:
        """The one video that a run wrote."""
        assert run["status"]["status_str"] == "success", self.error_of(run)
        (file,) = [f for out in run["outputs"].values() for f in out.get("images", ())]
        return self.base / "output" / file["subfolder"] / file["filename"]

    def error_of(self, run: dict) -> str:
        messages = dict(run["status"]["messages"])
        return messages.get("execution_error", {}).get("exception_message", "")

    def temporary(self) -> set[Path]:
        """The pack's files in the temp folder: results that the host keeps, and anything left."""
        found = (self.base / "temp").glob("*omnisync*")
        return {path for path in found if path.suffix != ".work"}  # what a later run goes on from


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """A ComfyUI of its own with this pack in it, for as long as the tests run."""
    if not COMFYUI:
        pytest.skip("COMFYUI_PATH does not name a ComfyUI")
    base = tmp_path_factory.mktemp("comfyui 口型 base")
    for name in ("custom_nodes", "input", "output", "temp", "user", "models"):
        (base / name).mkdir()
    (base / "custom_nodes" / "omnisync").symlink_to(ROOT, target_is_directory=True)
    neighbour = Path(__file__).parent / "neighbour"
    (base / "custom_nodes" / "a neighbour").symlink_to(neighbour, target_is_directory=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shims = str(Path(__file__).parent / "host_shims")
    python = os.environ.get("COMFYUI_PYTHON", sys.executable)
    command = [python, str(Path(COMFYUI) / "main.py"), "--cpu", "--base-directory", str(base)]
    command += ["--listen", "127.0.0.1", "--port", str(port), "--disable-auto-launch"]
    if page := os.environ.get("COMFYUI_FRONTEND"):
        command += ["--front-end-root", page]
    log = base / "log.txt"
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, "--disable-api-nodes"],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": shims},
        )
    server = Server(base, f"http://127.0.0.1:{port}", process)
    try:
        _wait(server, log)
        yield server
    finally:
        process.terminate()
        process.wait(30)


def _wait(server: Server, log: Path, limit: float = 600) -> None:
    stop = time.monotonic() + limit
    while time.monotonic() < stop and server.process.poll() is None:
        try:
            server.ask("/system_stats")
            return
        except OSError:
            time.sleep(0.5)
    pytest.fail("ComfyUI did not start:\n" + log.read_text()[-3000:])


@pytest.fixture(scope="session")
def media(server, pack) -> dict:
    """A second of a real clip, and a voice in stereo, in the server's input folder."""
    from omnisync_pack.omnisync_core.media import FrameWriter, probe_video, read_frames

    data = os.environ.get("OMNISYNC_DATA")
    source = ROOT / "omnisync_core" / "demo" / "character.mp4"
    if data:
        source = Path(data) / "clips" / "dev" / "d10_256.mp4"
    info = probe_video(source)
    sound = np.random.default_rng(0).normal(0, 0.1, (2, 44100)).astype(np.float32)
    size = {"width": info.width, "height": info.height, "rate": info.rate}
    with FrameWriter(server.base / "input" / "clip.mp4", audio=(sound, 44100), **size) as writer:
        for frame in read_frames(source, stop=round(info.rate)):
            writer.write(frame)
    for name in ("voice.wav", "character.mp4"):  # what the shipped graphs name
        shutil.copy(ROOT / "omnisync_core" / "demo" / name, server.base / "input")
    from PIL import Image

    Image.fromarray(next(iter(read_frames(source)))).save(server.base / "input" / "portrait.png")
    return {"frames": round(info.rate), **size}


@pytest.fixture
def prompt_of(server, widget_fields):
    """A shipped workflow as the page would send it."""

    def convert(name: str) -> dict:
        graph = json.loads((ROOT / "workflows" / name).read_text(encoding="utf-8"))
        links = {link[0]: [str(link[1]), link[2]] for link in graph["links"]}
        prompt = {}
        for node in graph["nodes"]:
            if node["type"] == "MarkdownNote":
                continue
            form = server.ask(f"/object_info/{node['type']}")[node["type"]]["input"]
            inputs = _typed(widget_fields(form), node["widgets_values"])
            inputs |= {i["name"]: links[i["link"]] for i in node["inputs"] if i["link"]}
            prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
            if node["type"] == "LoadVideo":
                inputs["file"] = "clip.mp4"
        return prompt

    return convert


def _typed(fields: list[tuple], values: list) -> dict:
    """A node's saved values by name. The page saves more than the form has: its own buttons."""
    left, typed = iter(values), {}
    for name, _, options in fields:
        typed[name] = next(left, options.get("default"))
        if options.get("control_after_generate"):
            next(left, None)
    return typed
