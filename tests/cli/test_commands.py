"""Each command: what it hands to the api, and how it shows what comes back.  The api itself is replaced here."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from autocompress import api
from autocompress.cli.main import main
from autocompress.errors import ModelError, TableError

TIMED = {"latency_ms": 7.8, "minimum_ms": 7.5, "spread_ms": 0.05, "repeats": 40, "clock": "cpu"}
LAYER = {
    "name": "conv1",
    "op_type": "Conv",
    "weight_dtype": "float32",
    "kernel": [3, 3],
    "elements": 9000,
    "nonzero": 3375,
    "sparsity": 0.625,
    "zero_kernels": 0.5,
    "zero_rows": 0.0,
    "zero_channels": 0.0,
    "patterns": ["2:4"],
}
CHANGE = {
    "name": "conv1",
    "op_type": "Conv",
    "done": ["pruned 64 → 48 outputs", "sparse 2:4"],
    "macs_before": 2_000_000,
    "macs_after": 1_000_000,
    "parameters_before": 3000,
    "parameters_after": 3000,
}

CASES = {
    "measure one": (
        "measure",
        ["measure", "a.onnx", "--threads", "2", "--shape", "x:1x3", "--budget", "2s", "--seed", "5"],
        (
            (Path("a.onnx"), None),
            {
                "runtime": "onnxruntime",
                "threads": 2,
                "batch_size": 1,
                "shapes": {"x": (1, 3)},
                "budget_s": 2.0,
                "seed": 5,
            },
        ),
        {"a": TIMED},
        ["A", "7.8 ms", "cpu"],
    ),
    "measure two": (
        "measure",
        ["measure", "a.onnx", "b.onnx"],
        (
            (Path("a.onnx"), Path("b.onnx")),
            {
                "runtime": "onnxruntime",
                "threads": 1,
                "batch_size": 1,
                "shapes": {},
                "budget_s": 10.0,
                "seed": 0,
            },
        ),
        {"a": TIMED, "b": {**TIMED, "latency_ms": 3.5}, "speedup": 2.23, "speedup_ci95": [2.2, 2.26]},
        ["B", "3.5 ms", "2.23x", "2.20x to 2.26x"],
    ),
    "estimate": (
        "estimate",
        ["estimate", "m.onnx", "--recipe", "r.json", "--explain", "--latency-table", "t.csv"],
        (
            (Path("m.onnx"),),
            {
                "recipe": Path("r.json"),
                "runtime": "onnxruntime",
                "threads": 1,
                "batch_size": 1,
                "shapes": {},
                "latency_table": Path("t.csv"),
                "explain": True,
            },
        ),
        {
            "latency_ms": 3.456,
            "interval90_ms": [3.1, 3.9],
            "coverage": 0.873,
            "nodes": 65,
            "kinds": [{"kind": "dense convolutions", "operators": 4, "latency_ms": 3.1, "share": 0.9}],
            "ops": [
                {
                    "name": "op7",
                    "label": "conv1",
                    "op_type": "QLinearConv",
                    "dtype": "uint8",
                    "shapes": "1x3x8x8 -> 1x8x8x8",
                    "latency_ms": 0.05,
                    "interval90_ms": [0.04, 0.06],
                    "share": 0.1,
                    "source": "table",
                    "reasons": [{"code": "small", "text": "a reason"}],
                    "note": "a reason",
                }
            ],
            "int8": None,
            "int8_unavailable": "the model is quantized already",
        },
        [
            *("3.456 ms", "3.1 ms to 3.9 ms", "87.3 %", "65", "conv1", "50 us", "10.0 %", "table"),
            *("dense convolutions", "90.0 %", "a reason", "int8: the model is quantized already"),
        ],
    ),
    "inspect": (
        "inspect",
        ["inspect", "m.onnx"],
        (
            (Path("m.onnx"),),
            {
                "runtime": "onnxruntime",
                "threads": 1,
                "batch_size": 1,
                "shapes": {},
                "latency_table": None,
                "graph": None,
                "against": None,
            },
        ),
        {
            "ops": [
                {
                    "name": "conv1",
                    "op_type": "Conv",
                    "shape": [1, 64, 112, 112],
                    "dtype": "float32",
                    "parameters": 9408,
                    "macs": 118013952,
                    "sparsity": 0.0,
                    "latency_ms": None,
                    "share": None,
                }
            ],
            "totals": {"ops": 1, "parameters": 9408, "macs": 118013952, "size_bytes": 44_000_000},
            "notices": ["'conv1' is [float]"],
        },
        ["conv1", "1x64x112x112", "9.41 k", "118 M", "44 MB", "'conv1' is [float]"],
    ),
    "inspect against": (
        "inspect",
        ["inspect", "m.onnx", "--against", "o.onnx"],
        (
            (Path("m.onnx"),),
            {
                "runtime": "onnxruntime",
                "threads": 1,
                "batch_size": 1,
                "shapes": {},
                "latency_table": None,
                "graph": None,
                "against": Path("o.onnx"),
            },
        ),
        {
            "ops": [],
            "layers": [LAYER, {**LAYER, "name": "dense", "sparsity": 0.1, "zero_kernels": 0.0, "patterns": []}],
            "changes": {
                "against": "o.onnx",
                "layers": [CHANGE, {**CHANGE, "name": "same", "done": []}],
                "before": {"macs": 2_000_000, "parameters": 3000},
                "after": {"macs": 1_000_000, "parameters": 3000},
            },
            "totals": {},
        },
        [
            *("conv1", "62.5 %", "50.0 %", "2:4", "1 other layer", "o.onnx", "pruned 64 → 48 outputs; sparse 2:4"),
            *("2 M -> 1 M", "3 k parameters", "unchanged: 1 layer"),
        ],
    ),
    "sensitivity": (
        "sensitivity",
        ["sensitivity", "m.onnx", "--data", "d.npz", "--quiet"],
        (
            (Path("m.onnx"), "d.npz"),
            {
                "kind": "quantization",
                "criteria": ("l2",),
                "methods": ("svd", "spatial"),
                "points": 4,
                "metric": None,
                "plot": None,
                "preprocess": None,
                "runtime": "onnxruntime",
                "threads": 1,
                "shapes": {},
                "latency_table": None,
                "seed": 0,
            },
        ),
        {"layers": [{"name": "conv1", "op_type": "Conv", "option": "int8", "damage": 0.01234}]},
        ["conv1", "int8", "0.01234"],
    ),
    "sensitivity curves": (
        "sensitivity",
        [
            "sensitivity",
            "m.onnx",
            "--data",
            "d.npz",
            "--kind",
            "pruning",
            "--criterion",
            "l2, taylor,l2",
            "--points",
            "3",
            "--metric",
            "top1",
            "--plot",
            "p.png",
            "--quiet",
        ],
        (
            (Path("m.onnx"), "d.npz"),
            {
                "kind": "pruning",
                "criteria": ("l2", "taylor"),
                "methods": ("svd", "spatial"),
                "points": 3,
                "metric": "top1",
                "plot": Path("p.png"),
                "preprocess": None,
                "runtime": "onnxruntime",
                "threads": 1,
                "shapes": {},
                "latency_table": None,
                "seed": 0,
            },
        ),
        {
            "kind": "pruning",
            "is_fraction": True,
            "curves": [
                {
                    "name": "conv1",
                    "method": "",
                    "criterion": name,
                    "full": 64,
                    "points": [
                        {
                            "choice": 0.25,
                            "kept": 48,
                            "saved_ms": 0.0123,
                            "damage": damage,
                            "drop": 0.005,
                            "energy": None,
                        }
                    ],
                }
                for name, damage in (("l2", 0.0312), ("taylor", 0.0271))
            ],
        },
        ["conv1", "48 of 64", "25.0 %", "damage, l2", "0.0312", "0.0271", "0.50 points", "0.012 ms"],
    ),
    "profile": (
        "profile",
        ["profile", "--model", "m.onnx", "--budget", "1m30s", "-o", "t.csv", "--threads", "1,2", "--quiet"],
        (
            (Path("m.onnx"),),
            {
                "runtime": "onnxruntime",
                "threads": (1, 2),
                "batch_size": 1,
                "shapes": {},
                "budget_s": 90.0,
                "output": Path("t.csv"),
            },
        ),
        {
            "tables": [
                {"table": "t1.csv", "threads": 1, "records": 120, "measured": 20, "remaining": 3, "seconds": 88.1},
                {"table": "t2.csv", "threads": 2, "records": 77, "measured": 7, "remaining": 3, "seconds": 9.5},
            ],
            "notices": ["the zoo is not finished"],
        },
        ["t1.csv", "120", "20", "88.1", "t2.csv", "77", "9.5", "the zoo is not finished"],
    ),
    "apply": (
        "apply_recipe",
        ["apply", "recipe.json", "m.onnx", "-o", "out.onnx", "--data", "d.npz"],
        (
            (Path("recipe.json"), Path("m.onnx"), Path("out.onnx")),
            {"data": "d.npz", "preprocess": None, "simulate": False},
        ),
        {"model": "out.onnx", "size_bytes": 3_600_000, "steps": ["fold", "quantize"], "sha256": "ab"},
        ["out.onnx", "3.6 MB", "fold, quantize"],
    ),
    "report": (
        "report",
        ["report", "s1", "--format", "html, PNG,html", "-o", "r", "--storage", "x.db"],
        (("s1",), {"storage": "x.db", "formats": ("html", "png"), "output": Path("r")}),
        {"files": ["r/report.html", "r/pareto.png"]},
        ["r/report.html", "r/pareto.png"],
    ),
    "doctor": (
        "doctor",
        ["doctor"],
        ((), {}),
        {
            "device": {"name": "cpu0", "isa": ["avx2"], "cores": 2},
            "runtimes": [{"name": "onnxruntime", "version": "1.31.1"}],
            "versions": {"onnx": "1.23.2"},
            "tables": [{"name": "cpu0-ort", "matches": False, "reason": "another version"}],
        },
        ["cpu0", "avx2", "onnxruntime", "1.23.2", "cpu0-ort", "no", "another version"],
    ),
    "study list": (
        "studies.list_studies",
        ["study", "list", "--storage", "x.db"],
        (("x.db",), {}),
        [{"study": "s1", "status": "complete", "trials": 12, "speedup": 2.1}],
        ["s1", "complete", "12", "2.10x"],
    ),
    "study show": (
        "studies.show_study",
        ["study", "show", "s1"],
        (("s1", "autocompress.db"), {}),
        {"study": "s1", "status": "running", "stop_reason": "", "trials": 4, "summary": None},
        ["s1", "running", "4"],
    ),
    "study trials": (
        "studies.list_trials",
        ["study", "trials", "s1"],
        (("s1", "autocompress.db"), {}),
        [{"number": 3, "state": "pruned", "reason": "estimated 1.2x"}],
        ["3", "pruned", "estimated 1.2x"],
    ),
    "study best": (
        "studies.best_trial",
        ["study", "best", "s1"],
        (("s1", "autocompress.db"), {}),
        {"number": 3, "speedup": 2.1, "accuracy_drop": 0.004, "model": "out/best.onnx"},
        ["3", "2.10x", "0.004", "out/best.onnx"],
    ),
    "study export": (
        "studies.export_study",
        ["study", "export", "s1", "-o", "s1.json"],
        (("s1", Path("s1.json"), "autocompress.db"), {}),
        {"path": "s1.json"},
        ["s1.json"],
    ),
    "study delete": (
        "studies.delete_study",
        ["study", "delete", "s1", "--yes"],
        (("s1", "autocompress.db"), {}),
        {"study": "s1"},
        ["deleted study 's1'"],
    ),
    "table list": (
        "tables.list_tables",
        ["table", "list"],
        ((), {}),
        [
            {"name": "cpu0-ort", "origin": "shipped", "threads": 1, "records": 900, "matches": True, "reason": ""},
            {"name": "cpu1-ort", "origin": "your own", "threads": 1, "matches": False, "reason": "made on cpu1"},
        ],
        ["cpu0-ort", "900", "yes", "your own", "no", "made on cpu1"],
    ),
    "table show": (
        "tables.show_table",
        ["table", "show", "t.csv", "--family", "pooling", "--op", "MaxPool", "--invalid", "--limit", "1"],
        ((Path("t.csv"),), {"family": "pooling", "op_type": "MaxPool", "invalid": True, "limit": 1}),
        {
            "path": "t.csv",
            "provenance": {"device": "cpu0", "threads": 1, "constants": {"int8_gmacs": 204.4, "launch_us": 0.2}},
            "records": 900,
            "models": 12,
            "journal": 3,
            "families": [{"family": "pooling", "records": 9, "valid": 8, "median_us": 6.7, "slowest_us": 1823.4}],
            "matching": 9,
            "operators": [{"minimum_us": 1823.4, "spread_us": 28.9, "family": "pooling", "work": "uint8 1x59 -> 1x48"}],
        },
        [
            "cpu0",
            "int8_gmacs 204.4 GMAC/s, launch_us 0.2 us",
            "900 operators, 12 whole models, 3 lines still in the",
            "6.7 us",
            "1.823 ms",
            "28.9 us",
            "9 operators, the slowest first; --limit 1 leaves out 8",
            "uint8 1x59 -> 1x48",
        ],
    ),
    "table validate": (
        "tables.validate_table",
        ["table", "validate", "t.csv"],
        ((Path("t.csv"),), {}),
        {"path": "t.csv", "valid": True, "records": 900, "models": 0, "faults": [], "notices": ["a line is cut short"]},
        ["t.csv is valid: 900 operators", "a line is cut short"],
    ),
    "table merge": (
        "tables.merge_tables",
        ["table", "merge", "a.jsonl", "b.jsonl", "-o", "c.jsonl", "--prefer", "last"],
        (([Path("a.jsonl"), Path("b.jsonl")], Path("c.jsonl")), {"prefer": "last"}),
        {
            "path": "c.jsonl",
            "records": 7,
            "repeated": 2,
            "tables": [{"path": "a.jsonl", "records": 5, "taken": 3}, {"path": "b.jsonl", "records": 4, "taken": 4}],
        },
        ["a.jsonl", "c.jsonl holds 7 operators; 2 operators stood in more than one table"],
    ),
    "table diff": (
        "tables.diff_tables",
        ["table", "diff", "a.jsonl", "b.jsonl", "--limit", "0"],
        ((Path("a.jsonl"), Path("b.jsonl")), {"limit": 0}),
        {
            "a": {"path": "a.jsonl", "records": 5},
            "b": {"path": "b.jsonl", "records": 4},
            "header": [{"field": "threads", "a": 1, "b": 2}],
            "all": {"name": "", "operators": 3, "median": 0.7, "quantile10": 0.5, "quantile90": 0.9, "total": 0.66},
            "families": [
                {"name": "pooling", "operators": 3, "median": 0.75, "quantile10": 0.5, "quantile90": 0.9, "total": 0.6}
            ],
            "models": None,
            "largest": [{"ratio": 0.5, "a_us": 2000.0, "b_us": 1000.0, "op_type": "MaxPool", "work": "1x8 -> 1x4"}],
            "only_a": {"records": 2, "families": [{"family": "pooling", "records": 2}]},
            "only_b": {"records": 0, "families": []},
        },
        [
            "A: a.jsonl",
            "threads",
            "all operators",
            "0.66x",
            "0.75x",
            "2 ms",
            "1 ms",
            "1x8 -> 1x4",
            "only in A: 2 operators (2 pooling)",
            "only in B: 0 operators",
        ],
    ),
}


@pytest.fixture
def replace_api(monkeypatch):
    """Puts a function in the place of one of the api's; gives the list of its calls."""

    def _replace(name: str, result: object) -> list[tuple[tuple, dict]]:
        calls: list[tuple[tuple, dict]] = []

        def stand_in(*arguments, **options):
            print("something prints where it should not")
            options.pop("progress", None)
            calls.append((arguments, options))
            if isinstance(result, BaseException):
                raise result
            return result

        module, _, function = name.rpartition(".")
        monkeypatch.setitem(vars(api), module or name, SimpleNamespace(**{function: stand_in}) if module else stand_in)
        return calls

    return _replace


@pytest.mark.parametrize(("name", "arguments", "call", "result", "shown"), CASES.values(), ids=CASES)
def test_command(name, arguments, call, result, shown, replace_api, capsys):
    calls = replace_api(name, result)
    assert main(arguments) == 0
    assert calls == [call]
    captured = capsys.readouterr()
    for text in shown:
        assert text in captured.out
    assert "prints where it should not" not in captured.out


@pytest.mark.parametrize(("name", "arguments", "call", "result", "shown"), CASES.values(), ids=CASES)
def test_command_as_json(name, arguments, call, result, shown, replace_api, capsys):
    replace_api(name, result)
    assert main([*arguments, "--json"]) == 0
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert document == result or result in document.values()
    assert "prints where it should not" in captured.err


@pytest.mark.parametrize(("name", "arguments", "call", "result", "shown"), CASES.values(), ids=CASES)
def test_command_that_is_refused(name, arguments, call, result, shown, replace_api, capsys):
    replace_api(name, ModelError("m.onnx is truncated; give another"))
    assert main([*arguments, "--json"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.endswith("error: m.onnx is truncated; give another\n")


def test_a_faulty_table_ends_with_2(replace_api):
    replace_api("tables.validate_table", TableError("line 7: negative time"))
    assert main(["table", "validate", "t.csv"]) == 2


def test_deleting_asks_first(replace_api, monkeypatch, capsys):
    import io
    import sys

    calls = replace_api("studies.delete_study", {"study": "s1"})
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    assert main(["study", "delete", "s1"]) == 130
    assert calls == []
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert main(["study", "delete", "s1", "--json"]) == 0
    assert len(calls) == 1
    assert json.loads(capsys.readouterr().out) == {"study": "s1"}


def test_bad_budget_is_refused_before_anything_runs(replace_api, capsys):
    calls = replace_api("measure", {})
    assert main(["measure", "a.onnx", "--budget", "soon"]) == 2
    assert "duration 'soon'" in capsys.readouterr().err
    assert calls == []
