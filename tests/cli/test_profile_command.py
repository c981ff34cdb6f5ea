"""``autocompress profile`` from end to end: several thread counts, one budget, tables that stand on their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autocompress.bundled import bundled_example
from autocompress.cli.main import main
from autocompress.latency.locate import shipped_tables
from autocompress.latency.table import LatencyTable


@pytest.fixture(autouse=True)
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the user's own is read or written."""
    monkeypatch.setenv("AUTOCOMPRESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def model() -> str:
    return str(bundled_example().model)


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
        assert row["measured"] == row["records"] > 20
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


def test_the_tables_share_the_budget(capsys, tmp_path) -> None:
    document, _ = profiled(capsys, "--threads", "1,2", "--budget", "8s", "-o", str(tmp_path))
    first, second = document["tables"]
    assert first["measured"] > 0
    assert second["measured"] > 0
    assert first["remaining"] > 0
    assert first["seconds"] < 7
    assert any("the zoo is not finished" in notice for notice in document["notices"])


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
