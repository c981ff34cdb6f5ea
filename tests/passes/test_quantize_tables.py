"""Embedding tables in 8 bits: real storage, the right rows, on both runtimes."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from autocompress.graph.model import model_bytes
from autocompress.passes.quantize import (
    FP16_WEIGHTS,
    FP32,
    INT8,
    INT8_DYNAMIC,
    INT8_WEIGHT_ONLY,
    QuantizeConfig,
)
from autocompress.runtimes import get_runtime
from autocompress.search.regions import find_regions

sys.path.append(str(Path(__file__).parent))
from quantize_models import FloatGraph, Study, run

ROWS, COLUMNS = 500, 64
IDS = np.random.default_rng(3).integers(0, ROWS, (8, 5))


def encoder() -> FloatGraph:
    """Rows of a table whose columns differ in size by a factor of 1000, a constant added, and a product."""
    graph = FloatGraph(6)
    values = graph.rng.standard_normal((ROWS, COLUMNS)) * 10.0 ** graph.rng.uniform(-3, 0, COLUMNS)
    ids = graph.input("ids", 5, kind=TensorProto.INT64)
    x = graph.op("Gather", graph.constant(values.astype(np.float32), "table"), ids, out="rows")
    x = graph.op("Add", x, graph.random(1, COLUMNS, scale=0.01))
    graph.output(x, graph.op("MatMul", x, graph.random(COLUMNS, 8)))
    return graph


@pytest.fixture(scope="module")
def study() -> Study:
    return Study(encoder().model(), {"ids": IDS})


def only_table(precision: str, **choices: object) -> QuantizeConfig:
    config = QuantizeConfig(precision=FP32, **choices)  # type: ignore[arg-type]
    return config.with_precisions({"Gather_0": precision})


def table_of(model: onnx.ModelProto) -> np.ndarray:
    producers = {name: node for node in model.graph.node for name in node.output}
    rows = producers["rows"]
    gather = producers[rows.input[0]] if rows.op_type == "DequantizeLinear" else rows
    source = producers[gather.input[0]].input[0] if gather.input[0] in producers else gather.input[0]
    return numpy_helper.to_array(next(w for w in model.graph.initializer if w.name == source))


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("precision", [INT8, INT8_DYNAMIC, INT8_WEIGHT_ONLY])
def test_rows_are_those_of_the_table_to_half_a_step(study: Study, runtime: str, precision: str) -> None:
    if runtime == "openvino":
        pytest.importorskip("openvino", reason="openvino is not installed")
    candidate = study.build(only_table(precision))
    table = table_of(study.model)
    stored = table_of(candidate)
    assert (stored.dtype, stored.shape) == (np.int8, table.shape)
    found = get_runtime(runtime).load(model_bytes(candidate)).run({"ids": IDS})["t1"]
    expected = study.float_outputs()["t1"]
    steps = np.abs(table).max(axis=0) / 127
    assert (np.abs(found - expected) <= steps / 2 + 1e-6).all()
    assert np.abs(found - expected).max() > 0
    scales = np.abs(table).max(axis=0) / 127
    np.testing.assert_array_equal(stored, np.round(table / scales).astype(np.int8))


def test_the_file_shrinks_by_three_bytes_a_number(study: Study) -> None:
    saved = len(model_bytes(study.build(QuantizeConfig(precision=FP32)))) - len(
        model_bytes(study.build(only_table(INT8)))
    )
    assert saved == pytest.approx(3 * ROWS * COLUMNS, rel=0.02)
    assert table_of(study.build(only_table(FP16_WEIGHTS))).dtype == np.float16


@pytest.mark.parametrize(("choices", "kind", "scales"), [
    ({"weight_granularity": "per_tensor"}, np.int8, 1),
    ({"weight_dtype": "uint8"}, np.uint8, COLUMNS),
    ({"weight_dtype": "int4"}, np.int8, COLUMNS),
    ({"weight_granularity": "per_block", "block_size": 32}, np.int8, COLUMNS),
])  # fmt: skip
def test_every_scheme_has_a_form_for_it(study: Study, choices: dict[str, object], kind: type, scales: int) -> None:
    candidate = study.build(only_table(INT8, **choices))
    assert table_of(candidate).dtype == kind
    scale = next(w for w in candidate.graph.initializer if w.name.endswith("table_scale"))
    assert int(np.prod(scale.dims)) == scales
    found, expected = run(candidate, {"ids": IDS})["t1"], study.float_outputs()["t1"]
    assert np.abs(found - expected).max() < 0.02


def test_with_everything_else_in_int8(study: Study) -> None:
    assert {name: unit.inputs for name, unit in study.units.items()} == {
        "Gather_0": (), "Add_1": ("rows",), "MatMul_2": ("t1",),
    }  # fmt: skip
    # What is computed with the rows is no part of the table's choice.
    assert [region.name for region in find_regions(study.builder.quantizer.units)] == ["Gather_0", "Add_1", "MatMul_2"]
    candidate = study.build()
    found, expected = run(candidate, {"ids": IDS}), study.float_outputs()
    for name, values in expected.items():
        assert np.corrcoef(found[name].ravel(), values.ravel())[0, 1] > 0.999
    simulated = study.builder.quantizer.emit(QuantizeConfig(), study.freeze().payload, simulate=True)
    for name, values in run(simulated, {"ids": IDS}).items():
        assert np.abs(values - found[name]).max() < np.abs(expected[name]).max() / 100


def test_who_needs_the_table_in_float_keeps_it() -> None:
    graph = encoder()
    shares = graph.input("shares", 5, ROWS)
    graph.output(graph.op("MatMul", shares, "table"))
    feeds = {"ids": IDS, "shares": np.ones((8, 5, ROWS), np.float32)}
    assert "Gather_0" not in Study(graph.model(), feeds).units


def test_small_tables_stay_as_they_are() -> None:
    graph = FloatGraph(6)
    graph.output(graph.op("Gather", graph.random(2, 64), graph.input("ids", 5, kind=TensorProto.INT64)))
    assert Study(graph.model(), {"ids": IDS % 2}).units == {}
