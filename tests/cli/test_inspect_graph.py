"""``autocompress inspect --graph``: a compressed model drawn against its original."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from autocompress.cli.main import main
from autocompress.graph.model import save_model
from autocompress.passes.quantize import QuantizeConfig, QuantizePayload
from autocompress.recipe.builder import CandidateBuilder, prepare

SVG = "{http://www.w3.org/2000/svg}"


def _chain() -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(rng.normal(size=(16, 8, 3, 3)).astype(np.float32), "first.weight"),
        numpy_helper.from_array(rng.normal(size=(8, 16, 1, 1)).astype(np.float32), "second.weight"),
    ]
    nodes = [
        helper.make_node("Conv", ["x", "first.weight"], ["a"], "first", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"], "relu"),
        helper.make_node("Conv", ["b", "second.weight"], ["y"], "second", kernel_shape=[1, 1]),
    ]
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8, 16, 16])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


@pytest.fixture
def models(tmp_path: Path) -> tuple[Path, Path]:
    original, compressed = tmp_path / "original.onnx", tmp_path / "compressed.onnx"
    save_model(_chain(), original)
    quantizer = CandidateBuilder(prepare(_chain()), "onnxruntime", "").quantizer
    config = QuantizeConfig(bias_correction=False)
    payload = QuantizePayload({"x": (-3.0, 3.0), "b": (0.0, 3.0), "y": (-3.0, 3.0)}, {})
    save_model(quantizer.emit(config, payload), compressed)
    return original, compressed


def test_what_was_done_is_marked(models: tuple[Path, Path], tmp_path: Path) -> None:
    original, compressed = models
    picture = tmp_path / "graph.svg"
    arguments = ["inspect", str(compressed), "--graph", str(picture), "--against", str(original)]
    assert main(arguments) == 0
    root = ElementTree.fromstring(picture.read_text(encoding="utf-8"))
    written = [element.text for element in root.iter(f"{SVG}text")]
    assert written.count("to int8") == 2
    assert written.count("QLinearConv") == 2
    assert "first" in written and "second" in written


def test_without_a_comparison_nothing_is_marked(models: tuple[Path, Path], tmp_path: Path) -> None:
    picture = tmp_path / "graph.svg"
    assert main(["inspect", str(models[1]), "--graph", str(picture)]) == 0
    assert "to int8" not in picture.read_text(encoding="utf-8")


def test_operators_have_the_names_that_the_model_gave_them(
    models: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for model in models:
        assert main(["inspect", str(model), "--json"]) == 0
        ops = json.loads(capsys.readouterr().out)["ops"]
        assert [op["layer"] for op in ops if "Conv" in op["op_type"]] == ["first", "second"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--graph", "graph.png"], "must be an .svg file"),
        (["--against", "other.onnx"], "other.onnx does not exist"),
        (["--graph", "no/such/folder/graph.svg"], "cannot be written"),
    ],
)
def test_what_cannot_be_drawn_is_said(
    models: tuple[Path, Path], arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(models[0]), *arguments]) != 0
    assert said in " ".join(capsys.readouterr().err.split())
