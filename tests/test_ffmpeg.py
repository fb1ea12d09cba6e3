from pathlib import Path

import pytest

from omnisync_core import ffmpeg
from omnisync_core.errors import UserError
from omnisync_core.ffmpeg import Ffmpeg, input_arguments, opening_error, readable_file

ENDLESS = ["-v", "error", "-f", "lavfi", "-i", "testsrc=s=64x48", "-f", "rawvideo", "pipe:1"]


def test_leaving_the_block_ends_the_child():
    with Ffmpeg(ENDLESS) as child:
        assert child.read_into(memoryview(bytearray(64 * 48 * 3))) == 64 * 48 * 3
    assert child.wait() != 0


def test_the_last_words_name_the_cause_and_no_addresses():
    with Ffmpeg(["-v", "error", "-i", "nowhere.mp4", "-f", "null", "-"]) as child:
        assert child.wait() != 0
    assert "No such file or directory" in child.last_words()
    assert "0x" not in child.last_words()


def test_a_silent_death_names_the_status():
    with Ffmpeg(ENDLESS) as child:
        child.kill()
    assert "without a word" in child.last_words()


def test_a_child_that_is_fed_sees_all_of_it():
    raw = ["-f", "s16le", "-ar", "8000", "-ac", "1", "-i", "pipe:0", "-f", "s16le", "pipe:1"]
    with Ffmpeg(["-v", "error", *raw], feed=True) as child:
        child.feed(bytes(range(200)))
        child.close_feed()
        assert child.stdout.read() == bytes(range(200))


def test_a_missing_program_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    def none_here() -> str:
        raise RuntimeError("no exe")

    monkeypatch.setattr(ffmpeg.imageio_ffmpeg, "get_ffmpeg_exe", none_here)
    with pytest.raises(UserError, match="pip install"):
        ffmpeg.ffmpeg_path()


def test_names_that_look_like_protocols_stay_files():
    assert input_arguments(Path("a:b.mp4"))[-1] == "file:a:b.mp4"


@pytest.mark.parametrize("words", ["missing.mp4", "", "empty.mp4"])
def test_what_is_no_readable_file_is_refused(tmp_path: Path, words: str):
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(UserError, match=r"no file|folder|empty"):
        readable_file(tmp_path / words)


def test_a_lost_index_is_told_from_a_strange_file():
    lost = opening_error(Path("a.mp4"), ["moov atom not found"])
    strange = opening_error(Path("a.mp4"), ["Invalid data found when processing input"])
    assert "cut off" in str(lost) and "make sense" in str(strange)
