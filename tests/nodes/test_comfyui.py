"""The pack inside a real ComfyUI, driven by its HTTP interface.

Runs where COMFYUI_PATH is set, see conftest.py.
"""

import json
import shutil
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


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
    assert sorted(names) == sorted(path.stem for path in (ROOT / "workflows").glob("*.json"))


@pytest.mark.parametrize("name", ["quick_start", "expert", "long_video", "two_speakers"])
def test_a_shipped_workflow_gives_a_video_with_the_new_voice(server, media, prompt_of, name):
    from omnisync_pack.omnisync_core.media import probe_video, read_audio

    path = server.saved(server.run(prompt_of(f"omnisync_{name}.json")))
    assert b"Edited with OmniSync" in path.read_bytes()
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


def test_occlusion_repair_alone_gives_the_edit_back(server, media, prompt_of):
    from omnisync_pack.omnisync_core.media import probe_video

    info = probe_video(server.saved(server.run(prompt_of("omnisync_occlusion_repair.json"))))
    assert (info.frames, info.has_audio) == (media["frames"], True)


def test_evaluate_and_compare_show_a_run(server, media, prompt_of):
    from omnisync_pack.omnisync_core.media import probe_video

    run = server.run(prompt_of("omnisync_evaluate.json"))
    assert run["status"]["status_str"] == "success", server.error_of(run)
    (report,) = [out["text"][0] for out in run["outputs"].values() if "text" in out]
    assert f"mouth found in {media['frames']} of {media['frames']} frames" in report
    files = [f for out in run["outputs"].values() for f in out.get("images", ())]
    (video,) = [f for f in files if f["type"] == "output"]
    assert len(files) == 2  # the plot and the video
    info = probe_video(server.base / "output" / video["subfolder"] / video["filename"])
    assert (info.frames, info.width) == (media["frames"], 2 * media["width"])


FOREIGN = ["after_ltx", "after_svd", "after_wan22", "guidance_wan_s2v"]


@pytest.mark.parametrize("name", FOREIGN)
def test_a_graph_with_foreign_weights_lacks_nothing_but_them(server, media, prompt_of, name):
    with pytest.raises(urllib.error.HTTPError) as refused:
        server.ask("/prompt", {"prompt": prompt_of(f"omnisync_{name}.json")})
    told = json.loads(refused.value.read())["node_errors"]
    errors = [(error, one["class_type"]) for one in told.values() for error in one["errors"]]
    assert errors
    for error, kind in errors:
        assert error["type"] == "value_not_in_list" and "Loader" in kind, error


def test_what_did_not_change_is_not_run_again(server, media, prompt_of):
    prompt = prompt_of("omnisync_quick_start.json")
    server.saved(server.run(prompt))
    before = server.temporary()
    again = server.run(prompt)
    cached = dict(again["status"]["messages"])["execution_cached"]["nodes"]
    assert set(cached) == set(prompt) and server.temporary() == before


def test_a_file_on_disk_that_changed_is_read_again(server, media, prompt_of):
    boxes = server.base / "input" / "places.json"
    boxes.write_text(json.dumps([[60, 100, 130, 130]] * media["frames"]))
    prompt = prompt_of("omnisync_quick_start.json")
    lip_sync(prompt)["region"] = str(boxes)
    (number,) = [k for k, node in prompt.items() if node["class_type"] == "OmniSyncLipSync"]

    def is_cached() -> bool:
        run = server.run(prompt)
        assert run["status"]["status_str"] == "success", server.error_of(run)
        return number in dict(run["status"]["messages"])["execution_cached"]["nodes"]

    assert [is_cached(), is_cached()] == [False, True]
    boxes.write_text(json.dumps([[62, 100, 130, 130]] * media["frames"]))
    assert [is_cached(), is_cached()] == [False, True]


def test_two_prompts_in_the_queue_are_both_done(server, media, prompt_of):
    first, second = (prompt_of("omnisync_quick_start.json") for _ in range(2))
    lip_sync(first)["seed"], lip_sync(second)["seed"] = 41, 42
    numbers = [server.queue(first), server.queue(second)]
    for _ in range(4000):
        runs = [server.ask(f"/history/{number}").get(number) for number in numbers]
        if all(runs):
            break
        time.sleep(0.2)
    one, other = (server.saved(run) for run in runs)
    assert one != other and one.read_bytes() != other.read_bytes()


def test_another_packs_lazy_sound_is_taken_and_its_names_do_not_disturb(server, media, prompt_of):
    prompt = prompt_of("omnisync_quick_start.json")
    straight = server.saved(server.run(prompt))
    prompt["90"] = {"class_type": "NeighbourSound", "inputs": {"audio": lip_sync(prompt)["audio"]}}
    lip_sync(prompt)["audio"] = ["90", 0]
    from omnisync_pack.omnisync_core.media import read_frames

    pairs = zip(read_frames(straight), read_frames(server.saved(server.run(prompt))), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)


def test_the_page_is_told_what_became_of_the_mouth(server, media, prompt_of):
    prompt = prompt_of("omnisync_quick_start.json")
    shown = server.run(prompt)["outputs"]
    (strip,) = [out["omnisync_strip"][0] for out in shown.values() if "omnisync_strip" in out]
    assert strip["frames"] == len(strip["states"]) == media["frames"]
    assert max(strip["voice"]) == 1.0 and max(strip["opening"]) == 1.0
    assert len(json.dumps(strip)) < 100_000


def test_the_saved_file_says_that_it_was_edited(server, media, prompt_of):
    path = server.saved(server.run(prompt_of("omnisync_quick_start.json")))
    text = path.read_bytes()
    assert b"Edited with OmniSync" in text and b"omnisync_model" in text


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
    assert server.error_of(run).startswith("OmniSync Lip Sync: ")
    assert server.temporary() == before


def test_a_run_stops_soon_after_it_is_cancelled(server, media, prompt_of):
    prompt = prompt_of("omnisync_quick_start.json")
    lip_sync(prompt).update(steps=1000, region="full")
    before = server.temporary()
    number = server.queue(prompt)
    for _ in range(300):
        if server.ask("/queue")["queue_running"]:
            break
        time.sleep(0.1)
    time.sleep(5)
    started = time.monotonic()
    server.ask("/interrupt", {})
    while not server.ask(f"/history/{number}"):
        assert time.monotonic() - started < 2
        time.sleep(0.1)
    run = server.ask(f"/history/{number}")[number]
    assert "execution_interrupted" in dict(run["status"]["messages"])
    assert server.temporary() == before
