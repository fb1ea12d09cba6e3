"""The runner from clip to table: rows, failures, going on, intervals, comparisons."""

import json
import sys

import numpy as np
import pytest

from omnisync_core.errors import UserError
from omnisync_core.evaluation import bench, report
from omnisync_core.evaluation.methods import parse_method
from omnisync_core.evaluation.report import write_report
from omnisync_core.evaluation.tables import markdown

from .conftest import write_item


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("bench")
    folders = [write_item(out / "items" / f"drawn-0{i}") for i in range(2)]
    tool = out / "tool.py"
    tool.write_text(
        "import pathlib, shutil, sys\n"
        f"count = pathlib.Path({str(out / 'count')!r})\n"
        "count.write_text(count.read_text() + 'x' if count.exists() else 'x')\n"
        "if count.read_text() == 'xx':\n    sys.exit('broken')\n"
        "shutil.copyfile(sys.argv[1], sys.argv[3])\n"
    )
    command = f"command:{sys.executable} {tool} {{video}} {{voice}} {{output}}"
    methods = [parse_method(m) for m in ("copy", "truth", "wrong-audio", command)]
    said: list[str] = []
    return out, folders, methods, said, bench.run_bench(folders, methods, out, say=said.append)


def test_every_method_has_a_row_for_every_clip(run):
    *_, rows = run
    assert len(rows) == 8
    assert [r["status"] for r in rows].count("failed") == 1


def test_a_crash_on_one_clip_is_counted_and_the_rest_goes_on(run):
    out, *_, rows = run
    failed = [r for r in rows if r["status"] == "failed"]
    assert failed[0]["name"] == "drawn-01" and "broken" in failed[0]["error"]
    assert "1 of 2" in markdown(rows, out, ("truth_r",))


def test_the_baselines_are_in_their_order(run):
    *_, rows = run
    found = bench.summary(rows, "truth_r")
    assert found["truth"]["mean"] > 0.98
    assert found["wrong-audio"]["mean"] < 0.6 and found["copy"]["mean"] < 0.6


def test_results_are_kept_as_csv_json_and_parquet(run):
    out, *_, rows = run
    stored = bench.read_rows(out)
    assert [r["truth_r"] for r in stored[:7]] == pytest.approx([r["truth_r"] for r in rows[:7]])
    assert (out / "results.csv").read_text().count("\n") == 9
    parquet = pytest.importorskip("pyarrow.parquet")
    assert parquet.read_table(out / "results.parquet").num_rows == 8


def test_the_same_command_tries_only_what_failed_again(run):
    out, folders, methods, *_ = run
    said: list[str] = []
    rows = bench.run_bench(folders, methods, out, say=said.append)
    assert [line.split(": ")[-1] for line in said if "judged" in line] == ["1 of 4 judged"]
    assert all(r["status"] == "ok" for r in rows)
    assert (out / "count").read_text() == "xxx"


def test_the_page_is_self_contained_and_shows_every_method(run):
    out, *_ = run
    page = write_report(out, out / "report.html").read_text()
    assert "truth" in page and "wrong-audio" in page and "data:image/jpeg" in page
    assert "http://" not in page and "https://" not in page and "<script" not in page
    assert "not comparable" in page.lower()
    sheet = (out / "human_sheet.csv").read_text().replace(",,,", ",yes,yes,yes")
    (out / "human_sheet.csv").write_text(sheet)
    assert "100.0%" in write_report(out, out / "report.html").read_text()


def test_the_page_begins_with_the_judged_and_leaves_out_what_no_clip_has(run):
    *_, rows = run
    absent = [{**r, "status": "absent"} if r["method"] == "truth" else r for r in rows]
    shown = list(dict.fromkeys(r["method"] for r in report._in_order(absent)))
    assert shown[0].startswith("command:") and shown[1:] == ["wrong-audio", "copy"]


def test_radars_bars_and_curves_lie_beside_the_page_as_pictures(run, tmp_path):
    pytest.importorskip("matplotlib")
    out, *_ = run
    write_report(out, tmp_path / "page.html")
    names = {path.name for path in (tmp_path / "plots").glob("*.png")}
    assert {"radar_all_tracks.png", "radar_general.png", "bars_truth_r.png"} <= names
    assert {"curves_drawn-00.png", "curves_drawn-01.png"} <= names


def row(method, name, value):
    return {"method": method, "name": name, "status": "ok", "track": "general", "truth_r": value}


def test_a_paired_comparison_is_narrower_than_its_two_sides():
    rng = np.random.default_rng(0)
    hard = rng.normal(size=30)
    rows = [row("a", f"c{i}", h + 0.1) for i, h in enumerate(hard)]
    rows += [row("b", f"c{i}", h) for i, h in enumerate(hard)]
    found = bench.compare(rows, "a", "b", "truth_r")
    assert found["mean"] == pytest.approx(0.1) and found["low"] == pytest.approx(found["high"])
    assert found["wins"] == 1 and found["clips"] == 30
    sides = bench.summary(rows, "truth_r")
    assert sides["a"]["low"] < sides["b"]["high"]


def test_the_interval_covers_the_mean_about_19_times_in_20():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(100):
        rows = [row("a", f"c{i}", v) for i, v in enumerate(rng.normal(size=40))]
        found = bench.summary(rows, "truth_r")["a"]
        hits += found["low"] <= 0 <= found["high"]
    assert 87 <= hits <= 100


def test_a_folder_without_a_run_is_told(tmp_path):
    with pytest.raises(UserError, match="omnisync bench"):
        bench.read_rows(tmp_path)
    (tmp_path / "results.json").write_text(json.dumps({"rows": []}))
    with pytest.raises(UserError, match="holds no result"):
        bench.read_rows(tmp_path)
