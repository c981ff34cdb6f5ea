"""``autocompress profile`` from end to end: several thread counts, one budget, tables that stand on their own."""

from __future__ import annotations

import json
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest

from autocompress.cli.main import main
from autocompress.latency.locate import shipped_tables
from autocompress.latency.roofline import Roofline, measure_roofline
from autocompress.latency.survey import SurveyOutcome
from autocompress.latency.table import LatencyTable
from autocompress.runtimes.replay import ReplayRuntime

sys.path.append(str(Path(__file__).parents[1] / "e2e"))
from small_world import save_classifier


@pytest.fixture(autouse=True)
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the user's own is read or written."""
    monkeypatch.setenv("AUTOCOMPRESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def known_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """The constants of the nominal device are always the same, and take a moment to find."""
    monkeypatch.setattr("autocompress.latency.profile.measure_roofline", lambda _, threads=1: nominal(threads))


@cache
def nominal(threads: int) -> Roofline:
    return measure_roofline(ReplayRuntime(), threads)


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(save_classifier(tmp_path / "m.onnx"))


def profiled(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> tuple[dict, str]:
    assert main(["profile", "--runtime", "replay", "--json", *arguments]) == code
    out, err = capsys.readouterr()
    return json.loads(out) if code == 0 else {}, err


def test_each_thread_count_gets_a_table_of_its_own(capsys, model, tmp_path) -> None:
    document, said = profiled(capsys, "--model", model, "--threads", "1,2", "-o", str(tmp_path))
    assert [row["threads"] for row in document["tables"]] == [1, 2]
    headers = [LatencyTable.load(row["table"]).header for row in document["tables"]]
    assert [(h.threads, h.method) for h in headers] == [(1, "slope"), (2, "slope")]
    for row in document["tables"]:
        assert row["measured"] == row["records"] > 8
        assert (row["invalid"], row["remaining"]) == (0, 0)
    assert "operators: done" in said
    assert "per second" in said
    again, _ = profiled(capsys, "--model", model, "--threads", "2", "-o", str(tmp_path))
    assert again["tables"][0]["measured"] == 0
    assert again["tables"][0]["records"] == document["tables"][1]["records"]


def test_one_file_cannot_hold_two_tables(capsys, model) -> None:
    _, said = profiled(capsys, "--model", model, "--threads", "1,2", "-o", "mine.jsonl", code=2)
    assert "mine.jsonl cannot hold 2 tables; give --output a folder that exists" in said
    assert not Path("mine.jsonl").exists()


@pytest.mark.parametrize("threads", ["0", "1,", "two", "1;2", "4096"])
def test_thread_counts_that_make_no_sense_are_refused(capsys, model, threads) -> None:
    _, said = profiled(capsys, "--model", model, "--threads", threads, code=2)
    assert "--threads" in said


def test_the_tables_share_the_budget_and_what_one_leaves_goes_to_the_next(capsys, tmp_path, monkeypatch) -> None:
    budgets: list[float] = []
    now_s = 0.0

    def instant(runtime, file, *, budget_s, **_) -> SurveyOutcome:
        nonlocal now_s
        budgets.append(budget_s)
        now_s += 30
        return SurveyOutcome(file.load(), measured=0, invalid=0, left=3, seconds=0.0)

    monkeypatch.setattr("autocompress.api.profiling.survey", instant)
    monkeypatch.setattr("autocompress.api.profiling.time", SimpleNamespace(perf_counter=lambda: now_s))
    document, _ = profiled(capsys, "--threads", "1,2", "--budget", "100s", "-o", str(tmp_path))
    assert budgets == [50, 70]
    assert [row["remaining"] for row in document["tables"]] == [3, 3]
    assert document["notices"] == ["the zoo is not finished; repeat the command to go on where it stopped"]


def test_the_zoo_is_timed_in_a_process_of_its_own_within_the_budget(capsys, tmp_path) -> None:
    document, said = profiled(capsys, "--budget", "4s", "-o", str(tmp_path))
    (row,) = document["tables"]
    assert row["records"] == row["measured"] > 0
    assert row["remaining"] > 100
    assert len(LatencyTable.load(row["table"]).models) > 0
    assert "survey the zoo: done, " in said


def test_what_a_shipped_table_knows_is_measured_only_for_a_table_of_its_own(capsys, model, tmp_path, monkeypatch):
    document, _ = profiled(capsys, "--model", model, "-o", "known.jsonl")
    known = LatencyTable.load("known.jsonl")
    assert not any(path.name == "known.jsonl" for path in shipped_tables())
    shipped = tmp_path / "latency_tables" / f"{known.header.stem}.jsonl"
    known.save(shipped)
    monkeypatch.setattr("autocompress.latency.locate.shipped_folder", lambda name: tmp_path / name)
    added, _ = profiled(capsys, "--model", model)
    assert added["tables"][0]["measured"] == 0
    alone, _ = profiled(capsys, "--model", model, "-o", "alone.jsonl")
    assert alone["tables"][0]["measured"] == document["tables"][0]["measured"] > 0


def test_a_model_that_cannot_be_quantized_is_profiled_in_float(capsys, tmp_path) -> None:
    import onnx
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("Exp", ["x"], ["y"])],
        "exponential",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 8))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 8))],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), "exp.onnx")
    document, _ = profiled(capsys, "--model", "exp.onnx", "-o", "exp.jsonl")
    assert document["tables"][0]["records"] == 1
    assert document["notices"] == ["this runtime can run no operator of the model in int8"]
