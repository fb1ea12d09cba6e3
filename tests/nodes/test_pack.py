"""What ComfyUI sees of the pack: ids, forms, words."""

import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IDS = {
    "OmniSyncLipSync",
    "OmniSyncModelLoader",
    "OmniSyncAudioEncode",
    "OmniSyncFlowInit",
    "OmniSyncSampler",
    "OmniSyncOcclusionRepair",
    "OmniSyncLongVideoChunker",
    "OmniSyncEvaluate",
    "OmniSyncCompare",
    "OmniSyncMouthMask",
    "OmniSyncLipGuidance",
    "OmniSyncGuider",
    "OmniSyncNativeStart",
}


def fields(node) -> dict[str, tuple]:
    form = node.INPUT_TYPES()
    return {**form.get("required", {}), **form.get("optional", {})}


def test_the_ids_that_workflows_store_are_there(pack):
    assert set(pack.NODE_CLASS_MAPPINGS) == IDS == set(pack.NODE_DISPLAY_NAME_MAPPINGS)


@pytest.mark.parametrize("name", sorted(IDS))
def test_every_input_and_output_is_explained(pack, name):
    node = pack.NODE_CLASS_MAPPINGS[name]
    assert node.CATEGORY == "OmniSync" and len(node.DESCRIPTION) > 40
    assert all(len(options["tooltip"]) > 10 for _, options in fields(node).values())
    assert len(node.RETURN_TYPES) == len(node.RETURN_NAMES) == len(node.OUTPUT_TOOLTIPS)
    assert all(len(text) > 10 for text in node.OUTPUT_TOOLTIPS)


@pytest.mark.parametrize("name", sorted(IDS))
def test_a_form_is_plain_data_and_its_method_takes_every_field(pack, name):
    node = pack.NODE_CLASS_MAPPINGS[name]
    json.dumps(node.INPUT_TYPES())
    parameters = inspect.signature(getattr(node, node.FUNCTION)).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    assert takes_any or set(fields(node)) <= set(parameters)


def test_lip_sync_shows_three_knobs(nodes):
    shown = [
        name
        for name, (kind, options) in fields(nodes.LipSync).items()
        if (isinstance(kind, list) or kind in ("INT", "FLOAT", "STRING", "BOOLEAN"))
        and not options.get("advanced")
    ]
    assert shown == ["steps", "guidance", "seed"]


def test_every_advanced_field_of_lip_sync_is_an_option_of_the_core(nodes):
    from omnisync_pack.nodes.sync_video import _options

    form = {name: options for name, (_, options) in fields(nodes.LipSync).items()}
    defaults = {
        name: options["default"]
        for name, options in form.items()
        if options.get("advanced") and name != "fps"
    }
    assert len(defaults) == 14
    guidance = form["guidance"]["default"]
    assert _options(guidance, None, defaults) == type(_options(guidance, None, {}))()


def test_importing_the_pack_imports_neither_the_host_nor_the_pipeline():
    code = """
import importlib.util, sys
from pathlib import Path
root = Path.cwd()
spec = importlib.util.spec_from_file_location(
    "pack", root / "__init__.py", submodule_search_locations=[str(root)]
)
pack = sys.modules["pack"] = importlib.util.module_from_spec(spec)
import logging, os, random, tempfile, threading, time, torch, numpy, einops

def state():
    return (
        list(sys.path), dict(os.environ), Path.cwd(), tempfile.tempdir, random.getstate()[1][:3],
        logging.root.level, list(logging.root.handlers), threading.active_count(),
        torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled(),
        torch.initial_seed(), torch.backends.cudnn.benchmark, str(sys.excepthook),
    )

forbidden = []
sys.addaudithook(
    lambda event, _: forbidden.append(event)
    if event.startswith(("socket.", "subprocess.", "urllib.", "os.putenv", "os.mkdir"))
    or event in ("os.system", "os.exec", "os.fork", "os.posix_spawn", "os.remove", "os.chdir")
    else None
)
before, started = state(), time.process_time()
spec.loader.exec_module(pack)
spent = time.process_time() - started
assert before == state() and not forbidden, forbidden
assert spent < 0.3, f"{spent:.2f} s"
assert len(pack.NODE_CLASS_MAPPINGS) == 13
heavy = {"comfy", "folder_paths", "cv2", "scipy", "imageio_ffmpeg", "pack.omnisync_core.pipeline"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize("name", sorted(IDS))
def test_every_word_has_its_chinese(pack, name):
    words = json.loads((ROOT / "locales" / "zh" / "nodeDefs.json").read_text(encoding="utf-8"))
    node, said = pack.NODE_CLASS_MAPPINGS[name], words[name]
    assert list(said["inputs"]) == list(fields(node))
    assert list(said["outputs"]) == [str(i) for i in range(len(node.RETURN_TYPES))]
    told = [said, *said["inputs"].values(), *said["outputs"].values()]
    for entry in told:
        assert set(entry) >= {"name", "tooltip"} or {"display_name", "description"} <= set(entry)
    assert not any(e["tooltip"].isascii() for e in told[1:]) and not said["description"].isascii()


@pytest.mark.parametrize("name", sorted(IDS))
def test_the_english_words_are_those_of_the_form(pack, name):
    words = json.loads((ROOT / "locales" / "en" / "nodeDefs.json").read_text(encoding="utf-8"))
    node, said = pack.NODE_CLASS_MAPPINGS[name], words[name]
    told = {field: options["tooltip"] for field, (_, options) in fields(node).items()}
    assert {field: word["tooltip"] for field, word in said["inputs"].items()} == told
    assert [word["tooltip"] for word in said["outputs"].values()] == list(node.OUTPUT_TOOLTIPS)
    assert (said["display_name"], said["description"]) == (node.TITLE, node.DESCRIPTION)


@pytest.mark.parametrize("name", sorted(IDS))
def test_every_node_can_be_searched_for(pack, name):
    node = pack.NODE_CLASS_MAPPINGS[name]
    assert node.SEARCH_ALIASES and all(word.strip() for word in node.SEARCH_ALIASES)


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("name", sorted(IDS))
def test_every_node_has_a_help_page_that_names_its_inputs(pack, name, language):
    page = ROOT / "web" / "docs" / name / f"{language}.md"
    text = page.read_text(encoding="utf-8")
    missing = [
        field for field in fields(pack.NODE_CLASS_MAPPINGS[name]) if f"`{field}`" not in text
    ]
    assert not missing
