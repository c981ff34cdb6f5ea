"""Commands on the bundled model, through the real api, runtime and tables."""

from __future__ import annotations

import ctypes
import ctypes.util
import json

import pytest

from autocompress.bundled import bundled_example
from autocompress.cli.main import main


@pytest.fixture(autouse=True)
def apart(tmp_path, monkeypatch):
    """Nothing of the user's own is read or written."""
    monkeypatch.setenv("AUTOCOMPRESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def floating_point_kept():
    """ONNX Runtime's first session may make its thread flush denormals, which later tests must not inherit."""
    libm = ctypes.CDLL(ctypes.util.find_library("m"))
    kept = ctypes.create_string_buffer(64)
    libm.fegetenv(kept)
    yield
    libm.fesetenv(kept)


@pytest.fixture
def model() -> str:
    return str(bundled_example().model)


def _document(capsys, *arguments: str) -> dict:
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_measure_two(model, capsys):
    document = _document(capsys, "measure", model, model, "--budget", "0.5s")
    assert document["a"]["latency_ms"] > 0
    assert document["b"]["latency_ms"] > 0
    low, high = document["speedup_ci95"]
    assert low <= document["speedup"] <= high
    assert 0.5 < document["speedup"] < 2.0


def test_estimate_prices_every_operator(model, capsys):
    document = _document(capsys, "estimate", model, "--explain")
    low, high = document["interval90_ms"]
    assert 0 < low <= document["latency_ms"] <= high
    assert 0 <= document["coverage"] <= 1
    assert document["nodes"] == len(document["ops"]) > 10
    assert all(op["latency_ms"] > 0 for op in document["ops"])


def test_inspect_counts_the_model(model, capsys):
    document = _document(capsys, "inspect", model)
    assert sum(op["macs"] for op in document["ops"]) == document["totals"]["macs"] > 10**6
    assert sum(op["parameters"] for op in document["ops"]) == document["totals"]["parameters"] > 10**5


def test_profile_then_table(model, capsys):
    fitting = [table["name"] for table in _document(capsys, "table", "list")["tables"] if table["matches"]]
    profiled = _document(capsys, "profile", "--model", model, "--budget", "5s", "-o", "mine.jsonl", "--quiet")
    document = profiled["tables"][0]
    assert document["records"] >= document["measured"] > 0
    assert _document(capsys, "table", "validate", "mine.jsonl")["records"] == document["records"]
    assert len(fitting) == len(set(fitting))
    shown = _document(capsys, "table", "show", "mine.jsonl")
    assert sum(row["records"] for row in shown["families"]) == document["records"]


def test_names_of_the_api_stay_what_they_are():
    import autocompress
    from autocompress import api

    for _ in range(2):
        for name in api.__all__:
            assert getattr(api, name) is getattr(api, name)
        assert callable(api.compress)
        assert callable(api.sensitivity)
        assert callable(autocompress.compress)
        assert isinstance(api.RunResult, type)


def test_doctor(capsys):
    document = _document(capsys, "doctor")
    assert document["device"]["cores"] >= 1
    assert "onnxruntime" in [runtime["name"] for runtime in document["runtimes"]]
    assert document["versions"]["autocompress"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["measure", "none.onnx"], "none.onnx"),
        (["estimate", "text.onnx"], "text.onnx"),
        (["inspect", "text.onnx"], "text.onnx"),
        (["run", "text.onnx", "--data", "none.npz"], "text.onnx"),
        (["run", "--data", "none.npz"], "without a model"),
        (["sensitivity", "MODEL", "--data", "none.npz"], "none.npz"),
        (["apply", "none.json", "MODEL", "-o", "out.onnx"], "none.json"),
        (["apply", "text.onnx", "MODEL", "-o", "out.onnx"], "text.onnx"),
        (["measure", "MODEL", "--runtime", "nonesuch"], "nonesuch"),
        (["measure", "MODEL", "--threads", "0"], "threads"),
        (["measure", "MODEL", "--batch-size", "0"], "batch"),
        (["study", "list"], "autocompress.db"),
        (["report", "nonesuch"], "autocompress.db"),
        (["table", "show", "nonesuch"], "nonesuch"),
        (["table", "validate", "text.onnx"], "text.onnx"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input_is_one_sentence_and_2_and_nothing_is_written(arguments, said, model, capsys, tmp_path):
    (tmp_path / "text.onnx").write_text("this is no model", encoding="utf-8")
    before = sorted(tmp_path.iterdir())
    assert main([model if word == "MODEL" else word for word in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    [sentence] = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert said in sentence
    assert sorted(path for path in tmp_path.iterdir() if path.name != "cache") == before
