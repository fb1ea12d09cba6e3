"""Every node, every input: what is wrong is named, with the node, the input and what to do.

And Cancel, in the middle of every node.
"""

import re
import shutil
import sys
import wave

import pytest
import torch

NAN_SOUND = {"waveform": torch.full((1, 1, 99), torch.nan), "sample_rate": 8000}
LIST_OF_SOUND = {"waveform": [0.0], "sample_rate": 8000}
NO_SOUND = {"waveform": torch.zeros(1, 1, 0), "sample_rate": 8000}
TWO_SOUNDS = {"waveform": torch.zeros(2, 1, 99), "sample_rate": 8000}
EMPTY = torch.zeros(0, 40, 48, 3)
FLAT = torch.zeros(40, 48, 3)
GREY = torch.zeros(6, 40, 48, 1)
NAN = torch.full((6, 40, 48, 3), torch.nan)
REGION = "8,8,24,24"


SCALES = {"spatial_scale": 1.0, "temporal_scale": 1.0, "profile": "constant"}
IMAGES = torch.rand(6, 40, 48, 3, generator=torch.Generator().manual_seed(1))
PAIR = {"source": IMAGES, "edited": IMAGES, "region": REGION}
FORMS = {
    "LipSync": {"images": IMAGES, "region": REGION, "steps": 1, "guidance": 1.0, "seed": 0},
    "AudioEncode": {"fps": 25.0, "frames": 0},
    "FlowInit": {"images": IMAGES, "tau": 0.9, "seed": 0, "region": REGION},
    "Sampler": {"images": IMAGES, "steps": 1, "solver": "euler", "churn": 0.0, **SCALES},
    "OcclusionRepair": {"source": IMAGES, "edited": IMAGES, "mask": torch.zeros(6, 40, 48)},
    "LongVideoChunker": {"window": 8, "overlap": 2, "images": IMAGES},
    "ModelLoader": {"model": "mini (embedded)", "device": "cpu"},
    "MouthMask": {"images": IMAGES, "size": 1.0, "region": REGION},
    "Evaluate": PAIR,
    "Compare": PAIR,
}


@pytest.fixture
def good(nodes, tiny, audio):
    """A form that a node accepts, by the node's name."""

    def form(name: str) -> dict:
        filled = dict(FORMS[name])
        if name in ("LipSync", "AudioEncode", "FlowInit", "Sampler"):
            filled["model"] = tiny
        if name in ("LipSync", "AudioEncode", "Evaluate"):
            filled["audio"] = audio
        if name == "Sampler":
            filled["encoded_audio"], _ = run(nodes, "AudioEncode", form("AudioEncode"))
            filled["start"], _ = run(nodes, "FlowInit", form("FlowInit"))
        return filled

    return form


def run(nodes, name: str, form: dict):
    node = getattr(nodes, name)
    return getattr(node(), node.FUNCTION)(**form)


def test_the_good_forms_are_good(nodes, good):
    for name in FORMS:
        assert run(nodes, name, good(name))


LOOK_AT_NO_COLOURS = ("AudioEncode", "LongVideoChunker", "OcclusionRepair")


def images_of(names: dict[str, tuple[str, ...]]):
    """Bad images for each image input of each node."""
    for node, inputs in names.items():
        for field in inputs:
            yield node, field, EMPTY, "at least one frame|frames"
            yield node, field, FLAT, r"IMAGE batch .* got \(40, 48, 3\)"
            yield node, field, GREY, r"IMAGE batch .* got \(6, 40, 48, 1\)"
            if node not in LOOK_AT_NO_COLOURS:
                yield node, field, NAN, "frame 0 holds values that are not numbers"


def sounds_of(*names: str):
    for node in names:
        yield node, "audio", None, "expected a sound, got nothing"
        yield node, "audio", "voice.wav", "expected an AUDIO .* got str"
        yield (
            node,
            "audio",
            {"waveform": [0.0], "sample_rate": 8000},
            "tensor of samples .* got list",
        )
        yield node, "audio", {**NO_SOUND, "sample_rate": 0}, "a rate in Hz, got Tensor at 0 Hz"
        yield node, "audio", NAN_SOUND, "samples that are not numbers"
        yield node, "audio", NO_SOUND, "of some length"
        yield node, "audio", TWO_SOUNDS, "one at a time"


CASES = [
    *images_of(
        {
            "LipSync": ("images",),
            "AudioEncode": ("images",),
            "FlowInit": ("images",),
            "Sampler": ("images",),
            "OcclusionRepair": ("source", "edited"),
            "LongVideoChunker": ("images",),
            "MouthMask": ("images",),
            "Evaluate": ("source", "edited"),
            "Compare": ("source", "edited"),
        }
    ),
    *sounds_of("LipSync", "AudioEncode", "Evaluate"),
    *[
        (node, "model", wrong, "expected the output of OmniSync Model Loader")
        for node in ("AudioEncode", "FlowInit", "Sampler")
        for wrong in (None, "mini")
    ],
    ("LipSync", "model", "mini", "expected the output of OmniSync Model Loader"),
    *[
        (node, "video", "a.mp4", "video, images: expected one of the two, got both")
        for node in ("LipSync", "LongVideoChunker")
    ],
    ("LipSync", "sound", NAN_SOUND, "sound: .* not numbers"),
    ("LipSync", "sound", [1], "sound: expected an AUDIO"),
    ("LipSync", "windows", 16, "expected the output of OmniSync Long Video Chunker"),
    ("Sampler", "windows", 16, "expected the output of OmniSync Long Video Chunker"),
    ("Sampler", "encoded_audio", None, "expected the output of OmniSync Audio Encode"),
    ("Sampler", "start", None, "expected the output of OmniSync Flow Init"),
    *[(node, "overlap", 9, "overlap must") for node in ("LipSync", "Sampler")],
    *[
        ("Compare", "audio", sound, told)
        for sound, told in (
            ("voice.wav", "expected an AUDIO .* got str"),
            (NAN_SOUND, "samples that are not numbers"),
            (NO_SOUND, "of some length"),
        )
    ],
    *[
        (node, "region", wrong, told)
        for node in ("LipSync", "FlowInit", "MouthMask", "Evaluate", "Compare")
        for wrong, told in (
            ("", "expected the region as"),
            ("nowhere.json", "expected the region as"),
            ("1,2,3", "region"),
            ("900,900,20,20", "region"),
        )
    ],
    *[
        (node, "speaker", "mother", "expected the speaker as")
        for node in ("LipSync", "FlowInit", "MouthMask", "Evaluate", "Compare")
    ],
    *[
        (node, "mouth", 5, "mouth: expected a MASK, a BOUNDING_BOX or FACE_LANDMARKS, got int")
        for node in ("LipSync", "FlowInit", "MouthMask")
    ],
    *[
        (node, field, 5, f"{field}: expected a VIDEO, got int")
        for node in ("Evaluate", "Compare")
        for field in ("source", "edited")
    ],
    ("OcclusionRepair", "mask", "white", "mask: expected a MASK .* got str"),
    ("OcclusionRepair", "mask", torch.zeros(4, 40, 48), "6 frames .* got 4"),
    ("OcclusionRepair", "mask", torch.zeros(6, 4, 4), "mask"),
    ("LongVideoChunker", "overlap", 5, "at most half the window"),
    ("ModelLoader", "model", "gone.safetensors", "gone.safetensors"),
]


@pytest.mark.parametrize(("node", "field", "value", "told"), CASES)
def test_what_is_wrong_is_named(nodes, good, own_temporary_folder, node, field, value, told):
    form = {**good(node), field: value}
    before = set(own_temporary_folder.rglob("*"))
    title = getattr(nodes, node).TITLE
    with pytest.raises(ValueError, match=f"(?s)^{title}: .*({told})"):
        run(nodes, node, form)
    assert set(own_temporary_folder.rglob("*")) == before, "something half-written is left"


TYPED = ("INT", "FLOAT", "STRING", "BOOLEAN")


@pytest.mark.parametrize("name", FORMS)
def test_every_socket_is_among_the_cases(nodes, name):
    groups = getattr(nodes, name).INPUT_TYPES()
    fields = {**groups.get("required", {}), **groups.get("optional", {})}
    sockets = {field for field, (kind, _) in fields.items() if kind not in TYPED}
    sockets -= {field for field, (kind, _) in fields.items() if isinstance(kind, list)}
    assert sockets <= {field for node, field, *_ in CASES if node == name}


@pytest.mark.parametrize("name", ["LipSync", "LongVideoChunker"])
def test_what_is_no_video_is_told(nodes, good, name):
    form = {**good(name), "images": None, "video": 5}
    with pytest.raises(ValueError, match="video: expected a VIDEO, got int"):
        run(nodes, name, form)


def wrong_values(kind, options) -> list:
    if kind == "INT":
        return [options["min"] - 1, options["max"] + 1, 1.5, "one", None]
    if kind == "FLOAT":
        low, high = options["min"], options["max"]
        return [low - 0.01, high + 0.01, float("nan"), float("inf"), "one", None]
    if kind == "STRING":
        return [5, None]
    if kind == "BOOLEAN":
        return ["yes", 1, None]
    return ["something else", None]


def test_every_number_and_choice_of_every_node_is_checked(nodes, good):
    """Also where it comes over a link, which the host does not look at."""
    checked = 0
    for name, node in vars(nodes).items():
        form = good(name) if name in FORMS else {}
        groups = node.INPUT_TYPES()
        fields = {**groups.get("required", {}), **groups.get("optional", {})}
        for field, (_, options) in fields.items():
            form.setdefault(field, options.get("default"))
        for field, (kind, options) in fields.items():
            typed = kind in TYPED or (isinstance(kind, list) and field != "model")
            for value in wrong_values(kind, options) if typed else ():
                told = f"{node.TITLE}: {field}: expected .*, got {value!r}."
                with pytest.raises(ValueError) as raised:
                    run(nodes, name, {**form, field: value})
                assert re.fullmatch(_literal(told), str(raised.value)), (name, field, value)
                checked += 1
    assert checked > 200


def _literal(told: str) -> str:
    return re.escape(told).replace(r"\.\*", ".*")


@pytest.mark.parametrize("node", ["LipSync", "LongVideoChunker", "Evaluate", "Compare"])
def test_a_video_without_a_picture_is_told(nodes, good, tmp_path, node):
    path = tmp_path / "only sound.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16000))
    form = good(node)
    for name in ("images", "source"):
        if form.pop(name, None) is not None:
            form["video" if name == "images" else name] = str(path)
    with pytest.raises(ValueError, match=r"(?s)^OmniSync .*only sound\.wav"):
        run(nodes, node, form)


@pytest.mark.parametrize("kind", ["half", "transparent", "one frame", "no gaps in memory"])
def test_unusual_images_are_taken(nodes, good, kind):
    changed = {
        "half": lambda x: x.half(),
        "transparent": lambda x: torch.cat([x, torch.ones_like(x[..., :1])], -1),
        "one frame": lambda x: x[:1],
        "no gaps in memory": lambda x: x.transpose(1, 2).contiguous().transpose(1, 2),
    }[kind]
    for node in ("LipSync", "FlowInit", "MouthMask", "Evaluate", "Compare", "LongVideoChunker"):
        form = good(node)
        for name in ("images", "source", "edited"):
            if name in form:
                form[name] = changed(form[name])
        assert run(nodes, node, form)


def test_a_silent_sound_is_a_sound(nodes, good, audio):
    quiet = {**audio, "waveform": torch.zeros_like(audio["waveform"])}
    for node in ("LipSync", "AudioEncode", "Evaluate"):
        assert run(nodes, node, {**good(node), "audio": quiet})


# How often a node asks at least, with six frames: once a frame in each of its loops.
LOOPS = {
    "AudioEncode": 1,
    "FlowInit": 18,
    "Sampler": 18,
    "LipSync": 18,
    "OcclusionRepair": 12,
    "MouthMask": 18,
    "Evaluate": 24,
    "Compare": 24,
}


@pytest.mark.parametrize("name", LOOPS)
def test_cancel_is_heard_in_every_loop(
    nodes, good, fake_host, tiny_file, own_temporary_folder, monkeypatch, name
):
    shutil.copy(tiny_file, fake_host.models / "omnisync")
    form, asked, stops = good(name), 0, 0
    if "model" in form:
        (form["model"],) = nodes.ModelLoader().load("tiny.safetensors")

    def ask():
        nonlocal asked
        asked += 1
        if asked == stops:
            raise KeyboardInterrupt

    host = sys.modules["comfy.model_management"]
    monkeypatch.setattr(host, "throw_exception_if_processing_interrupted", ask)
    run(nodes, name, form)
    assert asked >= LOOPS[name]
    places = (fake_host.models / "temp", own_temporary_folder)
    files = [set(place.rglob("*")) for place in places]
    for moment in (1, (asked + 1) // 2, asked):
        asked, stops = 0, moment
        with pytest.raises(KeyboardInterrupt):
            run(nodes, name, form)
        assert [set(place.rglob("*")) for place in places] == files, "something is left"


def test_cancel_is_heard_while_the_mouth_is_looked_for_and_what_covers_it(nodes, good, fake_host):
    form, asked = {**good("OcclusionRepair"), "mask": None}, []
    host = sys.modules["comfy.model_management"]
    host.throw_exception_if_processing_interrupted = lambda: asked.append(True)
    run(nodes, "OcclusionRepair", form)
    assert len(asked) >= 24
