"""`omnisync bench` and `omnisync report` on the command line: what cannot be is told at once."""

import pytest

from omnisync_core.cli import main


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--method", "magic"], "--method must be"),
        (["--timeout", "0"], "--timeout must be above 0"),
        (["--tracks", "general,hard"], "there is no 'hard'"),
        (["--syncnet", "none.pth"], "Expected weights of SyncNet"),
        (["--fid", "none.pt"], "TorchScript"),
        (["--embedder", "none.pt"], "face embedder"),
        (["--clips", "none.csv"], "cannot be read"),
        (["--model", "none.safetensors"], "there is no file"),
    ],
)
def test_what_cannot_be_is_one_sentence_and_code_2(tmp_path, capsys, words, told):
    assert main(["bench", "-o", str(tmp_path / "run"), *words]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "run" / "results").exists()


def test_a_report_needs_a_run(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 2
    assert "omnisync bench" in capsys.readouterr().err


def test_an_ordering_needs_clips_with_a_truth(tmp_path, capsys):
    assert main(["bench-order", str(tmp_path)]) == 2
    assert "no clips with a truth video" in capsys.readouterr().err
