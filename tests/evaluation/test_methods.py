"""Methods: outside programs that work, crash, hang or write nothing; folders; baselines."""

import sys
import time

import pytest

from omnisync_core.errors import UserError
from omnisync_core.evaluation.methods import parse_method


def script(tmp_path, text):
    path = tmp_path / "tool.py"
    path.write_text(text)
    return f"command:{sys.executable} {path} {{video}} {{voice}} {{output}}"


def test_a_command_is_given_source_and_voice_and_never_the_truth(item, tmp_path):
    tool = script(
        tmp_path,
        "import os, shutil, sys\n"
        "assert sorted(os.listdir(os.path.dirname(sys.argv[1]))) == ['source.mp4', 'voice.wav']\n"
        "shutil.copyfile(sys.argv[1], sys.argv[3])\n",
    )
    parse_method(tool).produce(item, tmp_path / "out.mp4")
    assert (tmp_path / "out.mp4").read_bytes() == (item / "source.mp4").read_bytes()


def test_a_command_that_crashes_says_its_last_words(item, tmp_path):
    tool = script(tmp_path, "import sys\nsys.exit('out of memory')")
    with pytest.raises(UserError, match="code 1: out of memory"):
        parse_method(tool).produce(item, tmp_path / "out.mp4")


def test_a_command_that_hangs_is_ended_with_all_it_started(item, tmp_path):
    tool = script(
        tmp_path,
        "import subprocess, sys\n"
        "subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])\n",
    )
    started = time.monotonic()
    with pytest.raises(UserError, match="more than 2 s"):
        parse_method(tool, timeout=2).produce(item, tmp_path / "out.mp4")
    assert time.monotonic() - started < 30


def test_a_command_that_writes_nothing_has_failed(item, tmp_path):
    with pytest.raises(UserError, match=r"wrote no \{output\}"):
        parse_method(script(tmp_path, "print('done')")).produce(item, tmp_path / "out.mp4")


def test_a_program_that_is_not_there_is_told(item, tmp_path):
    tool = "command:/no/such/program {video} {voice} {output}"
    with pytest.raises(UserError, match="cannot be started"):
        parse_method(tool).produce(item, tmp_path / "out.mp4")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("command:tool {video} {output}", "lacks {voice}"),
        ("folder:/no/such/folder", "there is no folder"),
        ("magic", "must be omnisync"),
        ("command:", "must be omnisync"),
    ],
)
def test_a_method_that_cannot_be_is_refused_at_once(text, words):
    with pytest.raises(UserError, match=words):
        parse_method(text)


def test_a_folder_gives_its_results_by_name(item, tmp_path):
    method = parse_method(f"folder:{tmp_path}")
    with pytest.raises(UserError, match=r"no drawn-00.mp4"):
        method.produce(item, tmp_path / "out.mp4")
    (tmp_path / "drawn-00.mp4").write_bytes(b"x")
    method.produce(item, tmp_path / "out.mp4")
    assert (tmp_path / "out.mp4").read_bytes() == b"x"


def test_labels_make_file_names_that_differ():
    labels = [f"command:{w} {{video}} {{voice}} {{output}}" for w in ("a b", "a_b")]
    folders = [parse_method(label).folder for label in labels]
    assert folders[0] != folders[1] and parse_method("copy").folder == "copy"


def test_weights_that_are_not_there_are_told():
    with pytest.raises(UserError, match="cannot be read"):
        parse_method("omnisync", model="/no/such.safetensors")
