"""What the registry and other people's graphs rely on: the forms, the package, the files."""

import ast
import itertools
import json
import re
import shutil
import subprocess
import sys
import warnings
from importlib import metadata
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
SNAPSHOT = Path(__file__).parent / "forms.json"


def forms(pack) -> dict:
    """Every node's form without its words: what saved graphs depend on."""
    found = {}
    for name, node in pack.NODE_CLASS_MAPPINGS.items():
        groups = node.INPUT_TYPES()
        found[name] = {
            group: [
                [field, kind if isinstance(kind, str) else "COMBO", options.get("default")]
                for field, (kind, options) in groups.get(group, {}).items()
            ]
            for group in ("required", "optional")
        }
        found[name]["outputs"] = [
            list(pair) for pair in zip(node.RETURN_NAMES, node.RETURN_TYPES, strict=True)
        ]
    return json.loads(json.dumps(found))


def test_forms_only_grow_at_their_end(pack):
    """Ids, names, order, types and defaults are for ever. After an addition: python -m
    tests.nodes.test_registry writes the file anew; look at what changes in it."""
    known, now = json.loads(SNAPSHOT.read_text(encoding="utf-8")), forms(pack)
    assert set(known) <= set(now)
    for name, form in known.items():
        for group, fields in form.items():
            assert now[name][group][: len(fields)] == fields, (name, group)


def test_the_snapshot_knows_every_field(pack):
    assert json.loads(SNAPSHOT.read_text(encoding="utf-8")) == forms(pack)


FLAGGED = {"eval", "exec", "compile", "__import__"}
MODULES = {"subprocess", "pickle", "socket", "ctypes", "urllib", "requests", "http", "marshal"}


def shipped_files() -> list[Path]:
    ignored = [
        line.strip("/\n")
        for line in (ROOT / ".comfyignore").read_text().splitlines()
        if line and line[0] != "#"
    ]
    files = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\n")
    return [
        Path(file)
        for file in files
        if file
        and not any(file.startswith(name + "/") or Path(file).match(name) for name in ignored)
    ]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs the files that git knows")
def test_nothing_shipped_does_what_the_registry_flags():
    for file in shipped_files():
        if file.suffix != ".py":
            continue
        for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in FLAGGED, (file, node.lineno)
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name.split(".")[0] for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names = [node.module.split(".")[0]]
            # ffmpeg.py alone starts a program: the ffmpeg of the imageio-ffmpeg package.
            if file.as_posix() != "omnisync_core/ffmpeg.py":
                assert not MODULES & set(names), (file, node.lineno)


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs the files that git knows")
def test_what_is_shipped_works_without_the_rest(tmp_path):
    """The registry's copy, in a folder with a space and Chinese in its name."""
    home = tmp_path / "custom nodes" / "口型 OmniSync"
    for file in shipped_files():
        (home / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, home / file)
    code = """
import importlib.util, sys
home = sys.argv[1]
spec = importlib.util.spec_from_file_location(
    "pack", home + "/__init__.py", submodule_search_locations=[home]
)
pack = sys.modules["pack"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pack)
import torch
clip = torch.rand(2, 64, 64, 3)
voice = {"waveform": torch.rand(1, 1, 4000) - 0.5, "sample_rate": 16000}
run = pack.NODE_CLASS_MAPPINGS["OmniSyncLipSync"]().sync
video, images, said = run(voice, 1.0, images=clip, steps=1, region="8,8,48,48")
assert images.shape == clip.shape and said == "2 frames, 2 edited", said
"""
    run = subprocess.run(
        [sys.executable, "-c", code, str(home)], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr[-2000:]


def project() -> dict:
    tomllib = pytest.importorskip("tomllib")
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs the files that git knows")
def test_every_shipped_file_is_python_of_the_oldest_version():
    """Python 3.10's grammar, and none of what 3.12 and 3.14 warn of before they refuse it."""
    for file in shipped_files():
        if file.suffix == ".py":
            code = (ROOT / file).read_text(encoding="utf-8")
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                tree = ast.parse(code, filename=str(file), feature_version=(3, 10))
            left = (ast.Return, ast.Break, ast.Continue)
            for node in ast.walk(tree):
                last = node.finalbody if isinstance(node, ast.Try) else []
                assert not any(isinstance(step, left) for step in last), (file, node.lineno)


def test_icon_and_banner_have_the_registrys_shapes():
    for name, shape in (("icon", (400, 400)), ("banner", (2100, 900))):
        root = ElementTree.parse(ROOT / "docs" / "images" / f"{name}.svg").getroot()
        assert (int(root.get("width")), int(root.get("height"))) == shape
    # At most 400 pixels a side; 21 to 9.


def test_the_licence_report_names_everything():
    report = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:-1] for line in report.splitlines() if line.startswith("| ")]
    known = {row[0].strip(): row for row in rows}
    for folder in ("weights", "demo"):
        for path in (ROOT / "omnisync_core" / folder).iterdir():
            if path.is_file():
                assert f"`{folder}/{path.name}`" in report, path.name
    told = project()["project"]
    wanted = [*told["dependencies"], *itertools.chain(*told["optional-dependencies"].values())]
    for requirement in wanted:
        name = re.split(r"[\[<>=; ]", requirement)[0]
        if name == "omnisync":
            continue
        said = known[name][-1]
        assert len(said.strip()) > 2, name
        assert not re.search(r"non-commercial|unknown", said), name
        declared = _declared_licence(name)
        if declared:
            first = re.split(r"[-; (]", said.strip())[0].lower()
            assert first in declared.lower() or "matplotlib" in first, (name, said, declared)


def _declared_licence(name: str) -> str:
    """What an installed package says of itself, in whichever of three ways; "" when not here."""
    try:
        told = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return ""
    groups = [c for c in told.get_all("Classifier") or [] if c.startswith("License")]
    return " ".join([told.get("License-Expression") or "", told.get("License") or "", *groups])


def test_the_registry_is_told_what_it_asks():
    told = project()
    comfy = told["tool"]["comfy"]
    assert {"PublisherId", "Icon", "Banner", "includes"} <= set(comfy)
    assert comfy["DisplayName"] == "OmniSync" and comfy["requires-comfyui"].startswith(">=0.3")
    assert "comfyui" not in told["project"]["name"].lower()
    listed = (ROOT / "requirements.txt").read_text(encoding="utf-8").split()
    assert set(listed) <= set(told["project"]["dependencies"])


if __name__ == "__main__":
    import importlib.util

    spec = importlib.util.spec_from_file_location(
        "omnisync_pack", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    module = sys.modules["omnisync_pack"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    SNAPSHOT.write_text(json.dumps(forms(module), indent=1) + "\n", encoding="utf-8")
