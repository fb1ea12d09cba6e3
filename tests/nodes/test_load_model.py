import shutil

import pytest
import torch


def test_the_list_begins_with_the_embedded_model_and_names_the_files(nodes, fake_host, tiny_file):
    shutil.copy(tiny_file, fake_host.models / "omnisync")
    (fake_host.models / "omnisync" / "notes.txt").touch()
    names, _ = nodes.ModelLoader.INPUT_TYPES()["required"]["model"]
    assert names == ["mini (embedded)", "tiny.safetensors"]
    assert fake_host.folder == ("omnisync", str(fake_host.models / "omnisync"))


def test_a_file_is_loaded_and_handed_to_the_host(nodes, fake_host, tiny_file):
    from omnisync_pack.nodes import host

    shutil.copy(tiny_file, fake_host.models / "omnisync")
    (model,) = nodes.ModelLoader().load("tiny.safetensors", dtype="bfloat16")
    assert next(model.network.parameters()).dtype == torch.bfloat16
    assert host.ready(model) is model.network
    assert fake_host.loaded == [model.patcher]


@pytest.mark.parametrize(
    ("chosen", "used"),
    [
        (torch.float16, torch.float16),
        (torch.bfloat16, torch.bfloat16),
        (torch.float64, torch.float32),  # asked for by a flag; the network does not know it
    ],
)
def test_the_number_format_is_the_hosts_choice(nodes, fake_host, tiny_file, chosen, used):
    shutil.copy(tiny_file, fake_host.models / "omnisync")
    fake_host.dtype = chosen
    (model,) = nodes.ModelLoader().load("tiny.safetensors")
    assert next(model.network.parameters()).dtype == used
    (model,) = nodes.ModelLoader().load("tiny.safetensors", dtype="float32")
    assert next(model.network.parameters()).dtype == torch.float32


def test_nothing_keeps_a_model_alive_after_its_run(nodes, fake_host, tiny_file, images, audio):
    import gc
    import weakref

    shutil.copy(tiny_file, fake_host.models / "omnisync")
    (model,) = nodes.ModelLoader().load("tiny.safetensors")
    form = {"steps": 1, "guidance": 1.0, "seed": 0, "region": "8,8,24,24"}
    nodes.LipSync().sync(audio, images=images, model=model, **form)
    network = weakref.ref(model.network)
    fake_host.loaded.clear()
    del model
    gc.collect()
    assert network() is None


def test_a_changed_file_is_loaded_again(nodes, fake_host, tiny_file):
    import os

    path = fake_host.models / "omnisync" / "tiny.safetensors"
    shutil.copy(tiny_file, path)
    before = nodes.ModelLoader.IS_CHANGED("tiny.safetensors")
    os.utime(path, (1, 1))
    assert nodes.ModelLoader.IS_CHANGED("tiny.safetensors") != before
    assert nodes.ModelLoader.IS_CHANGED("mini (embedded)") == 0.0


def test_cancel_is_heard_in_the_middle_of_a_step(nodes, fake_host, tiny_file, images, audio):
    shutil.copy(tiny_file, fake_host.models / "omnisync")
    (model,) = nodes.ModelLoader().load("tiny.safetensors")
    reached = []
    first, second = model.network.transformer.blocks

    def press_cancel(*_):
        fake_host.interrupted = True

    first.register_forward_hook(press_cancel)
    second.register_forward_hook(lambda *_: reached.append(True))
    form = {"steps": 1, "guidance": 1.0, "seed": 0, "region": "8,8,24,24"}
    with pytest.raises(KeyboardInterrupt):
        nodes.LipSync().sync(audio, images=images, model=model, **form)
    assert not reached


def test_a_missing_file_names_the_folder(nodes, fake_host):
    with pytest.raises(ValueError, match=r"OmniSync Model Loader: model: .*omnisync.*gone"):
        nodes.ModelLoader().load("gone.safetensors")
