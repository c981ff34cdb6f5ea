"""The compressed forms of a model whose operators ``profile --model`` times."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest

from autocompress.api.variants import model_variants
from autocompress.graph.model import load_model, model_bytes
from autocompress.runtimes import get_runtime

sys.path.append(str(Path(__file__).parents[1] / "e2e"))
from small_world import save_classifier, save_graph


def types(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def widths(model: onnx.ModelProto) -> list[int]:
    """Channels of the convolutions' weights, whatever their type."""
    return [weight.dims[0] for weight in model.graph.initializer if len(weight.dims) == 4]


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_every_kind_of_form_is_there_and_runs(tmp_path: Path, runtime: str) -> None:
    if runtime == "openvino":
        pytest.importorskip("openvino")
    model = load_model(save_classifier(tmp_path / "m.onnx", channels=32))
    forms = list(model_variants(model, runtime))
    assert forms[0] is model
    quantized = [form for form in forms if "QuantizeLinear" in types(form)]
    assert len(quantized) >= 4  # int8, twice half of it, narrower
    assert [widths(form) for form in forms if widths(form) != [32, 32]] == [[24, 24], [24, 24]]
    engine = get_runtime(runtime)
    x = np.ones((1, 3, 16, 16), np.float32)
    for form in forms:
        (scores,) = engine.load(model_bytes(form)).run({"x": x}).values()
        assert scores.shape == (1, 4)


def test_products_have_a_form_with_weights_of_4_bits(tmp_path: Path) -> None:
    weight = onnx.numpy_helper.from_array(np.ones((64, 64), np.float32), "w")
    product = onnx.helper.make_node("MatMul", ["x", "w"], ["y"], "product")
    model = load_model(save_graph(tmp_path / "p.onnx", [product], [weight], {"x": (1, 8, 64)}, {"y": (1, 8, 64)}))
    forms = [types(form) for form in model_variants(model, "onnxruntime")]
    assert any("MatMulNBits" in form for form in forms)
    assert any(
        "DynamicQuantizeLinear" in form or "DynamicQuantizeMatMul" in form or "MatMulInteger" in form for form in forms
    )


def test_a_model_that_nothing_can_be_done_to_is_alone(tmp_path: Path) -> None:
    node = onnx.helper.make_node("Exp", ["x"], ["y"], "exp")
    model = load_model(save_graph(tmp_path / "e.onnx", [node], [], {"x": (1, 8)}, {"y": (1, 8)}))
    assert list(model_variants(model, "onnxruntime")) == [model]
