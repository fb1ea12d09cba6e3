"""The shipped workflows against the nodes' forms; test_comfyui.py runs them."""

import json
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SHIPPED = sorted((HERE.parents[1] / "workflows").glob("*.json"))
# What earlier versions shipped, or people saved: these open for ever.
OLD = sorted((HERE / "old_workflows").glob("*.json"))
NAMES = (
    "after_ltx",
    "after_svd",
    "after_wan22",
    "evaluate",
    "expert",
    "guidance_wan_s2v",
    "long_video",
    "occlusion_repair",
    "quick_start",
    "two_speakers",
)


@pytest.fixture(params=SHIPPED, ids=lambda path: path.stem)
def workflow(request) -> dict:
    return json.loads(request.param.read_text(encoding="utf-8"))


@pytest.fixture(params=[*SHIPPED, *OLD], ids=lambda path: path.stem)
def any_workflow(request) -> dict:
    return json.loads(request.param.read_text(encoding="utf-8"))


def test_every_purpose_has_its_graph_and_a_picture_of_it():
    assert [path.stem.removeprefix("omnisync_") for path in SHIPPED] == list(NAMES)
    for path in SHIPPED:
        picture = path.with_suffix(".jpg").read_bytes()
        assert picture[:3] == b"\xff\xd8\xff" and 5_000 < len(picture) < 200_000, path.stem


def test_every_value_fits_its_field(any_workflow, pack, widget_fields):
    for node in any_workflow["nodes"]:
        if node["type"] not in pack.NODE_CLASS_MAPPINGS:
            continue
        fields = widget_fields(pack.NODE_CLASS_MAPPINGS[node["type"]].INPUT_TYPES())
        # An older graph may know fewer fields: later ones were appended.
        assert len(node["widgets_values"]) <= len(fields), node["type"]
        for value, (name, kind, options) in zip(node["widgets_values"], fields, strict=False):
            if isinstance(kind, list):
                assert value in kind, (node["type"], name)
            elif kind in ("INT", "FLOAT"):
                assert options["min"] <= value <= options["max"], (node["type"], name)
            elif kind == "BOOLEAN":
                assert isinstance(value, bool), (node["type"], name)


def test_a_shipped_graph_knows_every_field(workflow, pack, widget_fields):
    for node in workflow["nodes"]:
        if node["type"] in pack.NODE_CLASS_MAPPINGS:
            form = pack.NODE_CLASS_MAPPINGS[node["type"]].INPUT_TYPES()
            form.pop("hidden", None)  # the host fills these; no graph holds them
            assert len(node["widgets_values"]) == len(widget_fields(form)), node["type"]
            sockets = {slot["name"] for slot in node["inputs"]}
            typed = {name for name, *_ in widget_fields(form)}
            assert sockets | typed == {name for group in form.values() for name in group}


@pytest.mark.parametrize("name", ["quick_start", "expert", "long_video", "evaluate"])
def test_graphs_to_begin_with_are_the_products_own_settings(name, pack, widget_fields):
    path = next(p for p in SHIPPED if p.stem.endswith(name))
    for node in json.loads(path.read_text(encoding="utf-8"))["nodes"]:
        if node["type"] in pack.NODE_CLASS_MAPPINGS:
            form = pack.NODE_CLASS_MAPPINGS[node["type"]].INPUT_TYPES()
            defaults = [options["default"] for *_, options in widget_fields(form)]
            assert node["widgets_values"] == defaults


def form_type(form: dict, name: str) -> str:
    return (form["required"] | form.get("optional", {}))[name][0]


def test_every_link_joins_slots_of_its_type(any_workflow, pack):
    nodes = {node["id"]: node for node in any_workflow["nodes"]}
    for number, source, out, target, into, kind in any_workflow["links"]:
        start, end = nodes[source]["outputs"][out], nodes[target]["inputs"][into]
        assert start["type"] == kind and (kind in end["type"].split(",") or end["type"] == "*")
        assert number in start["links"] and end["link"] == number
        if nodes[target]["type"] in pack.NODE_CLASS_MAPPINGS:
            form = pack.NODE_CLASS_MAPPINGS[nodes[target]["type"]].INPUT_TYPES()
            assert kind in form_type(form, end["name"]).split(",")
        if nodes[source]["type"] in pack.NODE_CLASS_MAPPINGS:
            node = pack.NODE_CLASS_MAPPINGS[nodes[source]["type"]]
            assert (node.RETURN_NAMES[out], node.RETURN_TYPES[out]) == (start["name"], kind)


def test_every_needed_input_is_connected(workflow, pack, widget_fields):
    for node in workflow["nodes"]:
        if node["type"] in pack.NODE_CLASS_MAPPINGS:
            form = pack.NODE_CLASS_MAPPINGS[node["type"]].INPUT_TYPES()["required"]
            typed = {name for name, *_ in widget_fields({"required": form})}
            linked = {slot["name"] for slot in node["inputs"] if slot["link"]}
            assert set(form) <= typed | linked, node["type"]


def test_a_note_explains_the_graph(workflow):
    (note,) = [node for node in workflow["nodes"] if node["type"] == "MarkdownNote"]
    assert note["widgets_values"][0].startswith("## ") and len(note["widgets_values"][0]) > 200
