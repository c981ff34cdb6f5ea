"""The latency benchmark as a whole, with two tiny models on the runtime whose times are written down, and its parts."""

from __future__ import annotations

import json
from pathlib import Path

import latency_accuracy
import numpy as np
import onnx
import pytest
from latency_measuring.frozen import Frozen
from latency_measuring.kept import KeptRows
from latency_measuring.settings import open_setting
from latency_measuring.truth import Truth
from latency_models.catalogue import wanted_forms
from latency_models.recipes import precisions
from latency_scoring.nn_meter import NnMeter
from latency_scoring.ours import estimator_without, price_sources, without_signatures
from onnx import TensorProto, helper, numpy_helper

from autocompress.errors import TableError
from autocompress.graph.index import GraphIndex
from autocompress.graph.signature import OpSignature, TensorType
from autocompress.latency.families import family_of
from autocompress.latency.journal import TableFile
from autocompress.latency.profile import new_header, with_constants
from autocompress.latency.survey import survey
from autocompress.latency.table import LatencyTable
from autocompress.latency.train import train_predictors
from autocompress.latency.zoo.catalogue import VARIANTS, architectures
from autocompress.passes.quantize.units import find_units
from autocompress.runtimes import get_runtime
from autocompress.runtimes.protocol import ExecutedOp

METHODS = {"estimate", "no_hits", "table_only", "forest_only", "flops", "flops_bytes", "nn_meter"}


def test_recipes_split_the_regions_as_they_say() -> None:
    model = _chain(channels=8, layers=4)
    values = onnx.shape_inference.infer_shapes(model).graph
    names = frozenset(v.name for v in (*values.input, *values.value_info, *values.output, *values.initializer))
    units = find_units(GraphIndex(model), get_runtime("onnxruntime").quantization, names)
    assert len(units) == 4
    front, back = (list(precisions(f"{side}:0.5", units).values()) for side in ("front", "back"))
    assert front == ["int8", "int8", "fp32", "fp32"]
    assert back == front[::-1]
    assert set(precisions("int8", units).values()) == {"int8"}
    assert list(precisions("inner", units).values()) == ["fp32", "int8", "int8", "fp32"]
    assert precisions("random:0.5:1", units) == precisions("random:0.5:1", units)
    with pytest.raises(ValueError, match="no recipe"):
        precisions("sideways", units)


def test_the_sets_are_large_enough_and_named_once() -> None:
    forms = wanted_forms(["A", "B", "C"], quick=False)
    assert len({form.key for form in forms}) == len(forms)
    assert len({form.model for form in forms if form.set == "A"}) >= 12
    zoo = {a.name for a in architectures()} | {a.family for a in architectures()}
    assert not {form.model for form in forms} & zoo
    candidates = [form for form in forms if form.set == "C"]
    assert len({form.model for form in candidates}) >= 3
    assert min(sum(f.model == name for f in candidates) for name in {f.model for f in candidates}) >= 24


# Keeping and freezing


def test_half_a_line_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    KeptRows(path).append({"a": 1})
    with path.open("a") as file:
        file.write('{"a": 2')
    kept = KeptRows(path)
    kept.append({"a": 3})
    assert KeptRows(path).rows == [{"a": 1}, {"a": 3}]


def test_a_frozen_file_that_changes_is_named(tmp_path: Path) -> None:
    path = tmp_path / "table.jsonl"
    path.write_text("before")
    frozen = Frozen([path])
    frozen.check()
    path.write_text("after")
    with pytest.raises(TableError, match=r"table\.jsonl changed"):
        frozen.check()


# A table, forests, and whole runs on the runtime whose times are written down


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table of a corner of the zoo and its forests, for the replay runtime."""
    folder = tmp_path_factory.mktemp("data")
    runtime = get_runtime("replay")
    header = with_constants(runtime, new_header(runtime, 1, command="a test"))
    file = TableFile(folder / "tables" / f"{header.stem}.jsonl", header)
    small = {a.name: a for a in architectures() if a.name in ("resnet_cifar", "resnet_digits", "ds_cnn", "mlp")}
    variants = [v for v in VARIANTS if v.name in ("fp32", "int8", "pruned")]
    survey(runtime, file, models=[(a, v) for v in variants for a in small.values()])
    train_predictors(file.path, folder / "predictors" / header.stem, command="a test")
    return folder


@pytest.fixture
def tiny_models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    onnx.save(_chain(channels=12, layers=4), str(folder / "narrow.onnx"))
    onnx.save(_chain(channels=40, layers=3), str(folder / "wide.onnx"))
    return folder


def _chain(channels: int, layers: int) -> onnx.ModelProto:
    """Convolutions with ReLU, one after the other."""
    rng = np.random.default_rng(channels)
    nodes, weights, name, inputs = [], [], "x", 3
    for i in range(layers):
        kernel = rng.standard_normal((channels, inputs, 3, 3)).astype(np.float32) * 0.1
        weights.append(numpy_helper.from_array(kernel, f"w{i}"))
        nodes.append(helper.make_node("Conv", [name, f"w{i}"], [f"c{i}"], name=f"conv{i}", pads=[1] * 4))
        nodes.append(helper.make_node("Relu", [f"c{i}"], [f"r{i}"], name=f"relu{i}"))
        name, inputs = f"r{i}", channels
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, 16, 16])],
        weights,
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


def _run(data: Path, work: Path, *arguments: str) -> int:
    return latency_accuracy.main(
        ["--work", str(work), "--runtime", "replay", "--threads", "1", "--quiet", "--quick", "--tables",
         str(data / "tables"), "--predictors", str(data / "predictors"), *arguments]
    )  # fmt: skip


def test_exact_hits_leave_table_and_forests(data: Path, tmp_path: Path) -> None:
    setting = open_setting("replay", 1, data / "tables", data / "predictors")
    signatures = [r.signature for r in setting.table if family_of(r.signature) == "conv_dense_float"]
    removed = frozenset(s.key for s in signatures[:3])
    ops = [ExecutedOp(s.key, s) for s in signatures]
    assert price_sources(setting.estimator, ops)[0] == {"table": len(ops)}
    left = without_signatures(setting.table, removed)
    assert len(left) == len(setting.table) - len(removed)
    without = estimator_without(setting, removed, tmp_path)
    assert price_sources(without, ops)[0] == {"table": len(ops) - len(removed), "forest": len(removed)}
    assert without.predictors is not None
    rows = sum(family["rows"] for family in without.predictors.card["families"].values())
    assert rows <= len(left)
    hidden = next(s for s in signatures if s.key in removed)
    seen = setting.predictors.predict([hidden])[0]
    unseen = without.predictors.predict([hidden])[0]
    assert seen is not None and unseen is not None and seen.latency_us != unseen.latency_us


def test_nn_meter_counts_nothing_for_what_it_does_not_know(data: Path) -> None:
    setting = open_setting("replay", 1, data / "tables", data / "predictors")
    baseline = NnMeter(setting.table)
    record = next(r for r in setting.table if r.signature.op_type == "Conv")
    known = ExecutedOp("a", record.signature)
    tensor = TensorType("float32", (1, 8))
    strange = ExecutedOp("b", OpSignature("", "Strange", (tensor,), (tensor,)))
    assert baseline.predict_ms([strange]) == 0.0
    assert baseline.predict_ms([known, strange]) == baseline.predict_ms([known]) > 0


@pytest.mark.slow
def test_a_whole_run(data: Path, tiny_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work, out = tmp_path / "work", tmp_path / "results.json"
    arguments = ["--sets", "C", "--only", "narrow,wide", "--models", str(tiny_models), "--out", str(out)]
    assert _run(data, work, *arguments) == 0
    document = json.loads(out.read_text())
    # Chains of convolutions have no product to quantize at run time; nothing else may be left out.
    assert len(document["problems"]) == 2
    assert all("dynamic_front" in problem for problem in document["problems"])
    assert document["frozen_before_measuring"] is True
    assert len(document["frozen"]) >= 3
    assert {row["model"] for row in document["models"]} == {"narrow", "wide"}
    first = document["models"][0]
    assert {"estimate", "no_hits", "table_only", "forest_only", "flops", "flops_bytes", "nn_meter"} == set(
        first["predictions"]
    )
    assert first["rounds_ms"][0] == first["rounds_ms"][1] == first["truth_ms"] > 0
    overall = next(r for r in document["scores"]["accuracy"] if (r["k"], r["setting"]) == (0, "all"))
    assert overall["noise"]["mape"] == 0.0
    assert overall["n"] == len(document["models"]) >= 20
    priced = document["scores"]["priced"][0]
    assert priced["unpriced"] == 0
    assert sum(priced["node_share"].values()) == pytest.approx(1.0)
    assert {row["k"] for row in document["scores"]["ranking"]} == {0, 2, 8}
    assert "Order of the candidates" in capsys.readouterr().out

    kept = {path: path.stat().st_mtime_ns for path in work.rglob("*") if path.is_file()}
    assert _run(data, work, *arguments, "--markdown") == 0
    assert {path: path.stat().st_mtime_ns for path in work.rglob("*") if path.is_file()} == kept
    assert "| target | at least or most | measured | met |" in capsys.readouterr().out
    again = json.loads(out.read_text())
    assert [m["truth_ms"] for m in again["models"]] == [m["truth_ms"] for m in document["models"]]


def test_a_table_that_changes_meanwhile_ends_the_run(
    data: Path, tiny_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = (data / "tables").glob("*.jsonl")
    original = path.read_bytes()
    measure = Truth.measure_round

    def meddle(self: Truth, *arguments: object) -> None:
        measure(self, *arguments)  # type: ignore[arg-type]
        table = LatencyTable.load(path)
        without_signatures(table, [next(iter(table)).signature.key]).save(path)

    monkeypatch.setattr(Truth, "measure_round", meddle)
    try:
        arguments = ["--sets", "C", "--only", "narrow", "--models", str(tiny_models)]
        assert _run(data, tmp_path / "work", *arguments) == 2
    finally:
        path.write_bytes(original)
    assert "changed while the test set was being measured" in capsys.readouterr().err


def test_a_setting_without_a_table_is_refused(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(data, tmp_path / "work", "--threads", "3") == 2
    assert "autocompress profile --runtime replay --threads 3" in capsys.readouterr().err


def test_prepare_times_nothing(data: Path, tiny_models: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    assert _run(data, work, "--sets", "C", "--only", "narrow", "--models", str(tiny_models), "--prepare") == 0
    assert list(work.rglob("*.onnx"))
    assert not list(work.glob("truth*"))
