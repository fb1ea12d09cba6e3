"""The shipped workflows against the nodes' forms; test_comfyui.py runs them."""

import json
from pathlib import Path

import pytest

WORKFLOWS = sorted((Path(__file__).parents[2] / "workflows").glob("*.json"))


@pytest.fixture(params=WORKFLOWS, ids=lambda path: path.stem)
def workflow(request) -> dict:
    return json.loads(request.param.read_text(encoding="utf-8"))


def test_there_is_a_quick_start_and_an_expert_graph():
    assert [path.stem for path in WORKFLOWS] == ["omnisync_expert", "omnisync_quick_start"]


def test_every_value_fits_its_field(workflow, pack, widget_fields):
    for node in workflow["nodes"]:
        if node["type"] not in pack.NODE_CLASS_MAPPINGS:
            continue
        fields = widget_fields(pack.NODE_CLASS_MAPPINGS[node["type"]].INPUT_TYPES())
        assert len(node["widgets_values"]) == len(fields), node["type"]
        for value, (name, kind, options) in zip(node["widgets_values"], fields, strict=True):
            if isinstance(kind, list):
                assert value in kind, (node["type"], name)
            elif kind in ("INT", "FLOAT"):
                assert options["min"] <= value <= options["max"], (node["type"], name)
            assert value == options["default"], (node["type"], name)


def test_every_link_joins_slots_of_its_type(workflow, pack):
    nodes = {node["id"]: node for node in workflow["nodes"]}
    for number, source, out, target, into, kind in workflow["links"]:
        start, end = nodes[source]["outputs"][out], nodes[target]["inputs"][into]
        assert start["type"] == end["type"] == kind
        assert number in start["links"] and end["link"] == number
        if nodes[target]["type"] in pack.NODE_CLASS_MAPPINGS:
            form = pack.NODE_CLASS_MAPPINGS[nodes[target]["type"]].INPUT_TYPES()
            assert (form["required"] | form["optional"])[end["name"]][0] == kind
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
    assert any(node["type"] == "MarkdownNote" for node in workflow["nodes"])
