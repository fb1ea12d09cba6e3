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


def test_a_changed_file_is_loaded_again(nodes, fake_host, tiny_file):
    import os

    path = fake_host.models / "omnisync" / "tiny.safetensors"
    shutil.copy(tiny_file, path)
    before = nodes.ModelLoader.IS_CHANGED("tiny.safetensors")
    os.utime(path, (1, 1))
    assert nodes.ModelLoader.IS_CHANGED("tiny.safetensors") != before
    assert nodes.ModelLoader.IS_CHANGED("mini (embedded)") == 0.0


def test_a_missing_file_names_the_folder(nodes, fake_host):
    with pytest.raises(ValueError, match=r"OmniSync Model Loader: model: .*omnisync.*gone"):
        nodes.ModelLoader().load("gone.safetensors")
