"""The pack inside a real ComfyUI, driven by its HTTP interface.

COMFYUI_PATH names a checkout of ComfyUI; COMFYUI_PYTHON its Python when it is not this one.
OMNISYNC_DATA names the folder of real clips; without it the demo clip is used.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
COMFYUI = os.environ.get("COMFYUI_PATH")
pytestmark = pytest.mark.skipif(not COMFYUI, reason="COMFYUI_PATH does not name a ComfyUI")


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
            return self.ask("/prompt", {"prompt": prompt})["prompt_id"]
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
        assert run["status"]["status_str"] == "success", error_of(run)
        (file,) = [f for out in run["outputs"].values() for f in out.get("images", ())]
        return self.base / "output" / file["subfolder"] / file["filename"]

    def temporary(self) -> set[Path]:
        """The pack's files in the temp folder: results that the host keeps, and anything left."""
        return set((self.base / "temp").glob("*omnisync*"))


def error_of(run: dict) -> str:
    messages = dict(run["status"]["messages"])
    return messages.get("execution_error", {}).get("exception_message", "")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    base = tmp_path_factory.mktemp("comfyui base")
    for name in ("custom_nodes", "input", "output", "temp", "user", "models"):
        (base / name).mkdir()
    (base / "custom_nodes" / "omnisync").symlink_to(ROOT, target_is_directory=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shims = str(Path(__file__).parent / "host_shims")
    python = os.environ.get("COMFYUI_PYTHON", sys.executable)
    command = [python, str(Path(COMFYUI) / "main.py"), "--cpu", "--base-directory", str(base)]
    command += ["--listen", "127.0.0.1", "--port", str(port), "--disable-auto-launch"]
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


@pytest.fixture(scope="module")
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
    shutil.copy(ROOT / "omnisync_core" / "demo" / "voice.wav", server.base / "input")
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
            names = [name for name, *_ in widget_fields(form)]
            inputs = dict(zip(names, node["widgets_values"], strict=False))
            inputs |= {i["name"]: links[i["link"]] for i in node["inputs"] if i["link"]}
            prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
            if node["type"] == "LoadVideo":
                inputs["file"] = "clip.mp4"
        return prompt

    return convert


def lip_sync(prompt: dict) -> dict:
    return next(n for n in prompt.values() if n["class_type"] == "OmniSyncLipSync")["inputs"]


def test_the_pack_loads_and_every_node_is_listed(server, pack):
    log = (server.base / "log.txt").read_text()
    assert not [line for line in log.splitlines() if "IMPORT FAILED" in line and "omni" in line]
    for name, node in pack.NODE_CLASS_MAPPINGS.items():
        info = server.ask(f"/object_info/{name}")[name]
        form = json.loads(json.dumps(node.INPUT_TYPES()))
        for group, fields in form.items():
            assert list(info["input"][group]) == list(fields)
        assert info["output_name"] == list(node.RETURN_NAMES)
        assert info["display_name"] == node.TITLE and info["category"] == "OmniSync"


def test_the_model_folder_is_known_to_the_host(server, tiny_file):
    target = server.base / "models" / "omnisync" / "tiny.safetensors"
    target.parent.mkdir(exist_ok=True)
    shutil.copy(tiny_file, target)
    names = server.ask("/object_info/OmniSyncModelLoader")["OmniSyncModelLoader"]["input"]
    assert names["required"]["model"][0] == ["mini (embedded)", "tiny.safetensors"]


def test_help_and_chinese_reach_the_page(server):
    page = "/extensions/omnisync/docs/OmniSyncLipSync/zh.md"
    with urllib.request.urlopen(server.url + page, timeout=30) as answer:
        assert answer.read().decode().startswith("# OmniSync 对口型")
    words = server.ask("/i18n")["zh"]["nodeDefs"]["OmniSyncLipSync"]
    assert words["inputs"]["steps"]["name"] == "步数"


def test_the_workflows_are_offered_as_templates(server):
    names = server.ask("/workflow_templates")["omnisync"]
    assert sorted(names) == ["omnisync_expert", "omnisync_quick_start"]


@pytest.mark.parametrize("name", ["omnisync_quick_start.json", "omnisync_expert.json"])
def test_a_shipped_workflow_gives_a_video_with_the_new_voice(server, media, prompt_of, name):
    from omnisync_pack.omnisync_core.media import probe_video, read_audio

    path = server.saved(server.run(prompt_of(name)))
    info = probe_video(path)
    assert (info.frames, info.width, info.height) == (
        media["frames"],
        media["width"],
        media["height"],
    )
    assert info.rate == media["rate"] and not info.variable_rate
    heard, voice = read_audio(path), read_audio(server.base / "input" / "voice.wav")
    second = min(len(heard), len(voice), 14000)
    assert abs(len(heard) / 16000 - 1) < 0.1
    assert np.corrcoef(heard[1600:second], voice[1600:second])[0, 1] > 0.9


def test_the_saved_file_says_that_it_was_edited(server, media, prompt_of):
    path = server.saved(server.run(prompt_of("omnisync_quick_start.json")))
    assert b"Edited with OmniSync" in path.read_bytes()


def test_images_in_give_images_and_a_video_out(server, media, prompt_of):
    from omnisync_pack.omnisync_core.media import probe_video

    prompt = prompt_of("omnisync_quick_start.json")
    prompt["90"] = {
        "class_type": "GetVideoComponents",
        "inputs": {"video": lip_sync(prompt).pop("video")},
    }
    lip_sync(prompt).update(images=["90", 0], fps=["90", 2])
    prompt["91"] = {"class_type": "PreviewImage", "inputs": {"images": ["3", 1]}}
    run = server.run(prompt)
    assert len(run["outputs"].pop("91")["images"]) == media["frames"]
    assert probe_video(server.saved(run)).frames == media["frames"]


def test_a_video_held_in_memory_is_taken(server, media, prompt_of):
    from omnisync_pack.omnisync_core.media import probe_video

    prompt = prompt_of("omnisync_quick_start.json")
    prompt["90"] = {
        "class_type": "GetVideoComponents",
        "inputs": {"video": lip_sync(prompt)["video"]},
    }
    prompt["91"] = {
        "class_type": "CreateVideo",
        "inputs": {"images": ["90", 0], "fps": 12.0, "audio": ["90", 1]},
    }
    lip_sync(prompt)["video"] = ["91", 0]
    info = probe_video(server.saved(server.run(prompt)))
    assert (info.frames, info.rate) == (media["frames"], 12)


def test_a_trim_on_the_way_is_kept(server, media, prompt_of):
    from omnisync_pack.omnisync_core.media import probe_video

    if "Video Slice" not in server.ask("/object_info"):
        pytest.skip("this ComfyUI cannot trim a video")
    prompt = prompt_of("omnisync_quick_start.json")
    prompt["90"] = {
        "class_type": "Video Slice",
        "inputs": {
            "video": lip_sync(prompt)["video"],
            "start_time": 0.2,
            "duration": 0.4,
            "strict_duration": False,
        },
    }
    lip_sync(prompt)["video"] = ["90", 0]
    frames = probe_video(server.saved(server.run(prompt))).frames
    assert abs(frames - 0.4 * float(media["rate"])) <= 1


def test_the_output_that_has_nothing_to_give_says_why(server, media, prompt_of):
    prompt = prompt_of("omnisync_quick_start.json")
    prompt["90"] = {"class_type": "PreviewImage", "inputs": {"images": ["3", 1]}}
    run = server.run(prompt)
    assert "90" not in run["outputs"]
    assert server.saved(run).exists()


def test_a_mistake_is_named_on_the_node_and_the_server_goes_on(server, media, prompt_of):
    prompt = prompt_of("omnisync_quick_start.json")
    lip_sync(prompt)["region"] = "9000,0,10,10"
    before = server.temporary()
    run = server.run(prompt)
    assert run["status"]["status_str"] == "error"
    assert error_of(run).startswith("OmniSync Lip Sync: ")
    assert server.temporary() == before


def test_a_run_stops_soon_after_it_is_cancelled(server, media, prompt_of):
    prompt = prompt_of("omnisync_quick_start.json")
    lip_sync(prompt).update(steps=1000, region="full")
    before = server.temporary()
    number = server.queue(prompt)
    while not server.ask("/queue")["queue_running"]:
        time.sleep(0.1)
    time.sleep(5)
    started = time.monotonic()
    server.ask("/interrupt", {})
    while not server.ask(f"/history/{number}"):
        assert time.monotonic() - started < 5
        time.sleep(0.1)
    run = server.ask(f"/history/{number}")[number]
    assert "execution_interrupted" in dict(run["status"]["messages"])
    assert server.temporary() == before
