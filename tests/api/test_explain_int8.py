"""What int8 would make of a float model: the sums must add up, and the sentences must say what the numbers say."""

from __future__ import annotations

import dataclasses

import pytest
from explain_parts import Rule, estimator_of, executed, float_model
from onnx import helper

from autocompress.api.explain import explanation
from autocompress.api.explain.executed import PricedGraph
from autocompress.api.explain.forms import Forms
from autocompress.api.explain.regions import split_time
from autocompress.runtimes import get_runtime

RUNTIMES = ["onnxruntime", "openvino"]
CONV = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}


@pytest.fixture(params=RUNTIMES)
def runtime(request) -> str:
    if request.param == "openvino":
        pytest.importorskip("openvino")
    return request.param


def network():
    """Two convolutions with a residual, a SiLU, a Softplus that has no integer kernel, and a linear layer."""
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], "conv1", **CONV),
        helper.make_node("Relu", ["c1"], ["r1"], "relu1"),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], "conv2", **CONV),
        helper.make_node("Sigmoid", ["c2"], ["s2"], "sigmoid2"),
        helper.make_node("Mul", ["c2", "s2"], ["a2"], "mul2"),
        helper.make_node("Add", ["a2", "r1"], ["j"], "join"),
        helper.make_node("Softplus", ["j"], ["p"], "soft"),
        helper.make_node("Conv", ["p", "w3", "b3"], ["c3"], "depthwise", group=32, **CONV),
        helper.make_node("GlobalAveragePool", ["c3"], ["g"], "pool"),
        helper.make_node("Flatten", ["g"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "w4", "b4"], ["y"], "linear", transB=1),
    ]
    weights = {
        "w1": (32, 3, 3, 3),
        "b1": (32,),
        "w2": (32, 32, 3, 3),
        "b2": (32,),
        "w3": (32, 1, 3, 3),
        "b3": (32,),
        "w4": (10, 32),
        "b4": (10,),
    }
    return float_model(nodes, weights, {"x": (1, 3, 24, 24)}, {"y": (1, 10)})


def explained(runtime: str, rule: Rule | None = None):
    model, engine = network(), get_runtime(runtime)
    estimator = estimator_of(rule)
    execute = lambda form: executed(form, runtime)  # noqa: E731
    return explanation(model, execute(model), estimator, engine, execute), estimator


def test_the_regions_and_the_rest_make_up_the_whole_in_both_forms(runtime):
    document, estimator = explained(runtime)
    int8 = document["int8"]
    run_ms = estimator.composition.per_model_us / 1e3
    forms = {row["form"]: row for row in int8["forms"]}
    total = sum(row["int8_ms"] for row in int8["regions"]) + int8["outside_int8_ms"] + run_ms
    assert total == pytest.approx(forms["int8"]["latency_ms"])
    assert sum(row["int8_ms"] for row in int8["kinds"]) == pytest.approx(total)
    floats = sum(row["float_ms"] for row in int8["regions"]) + int8["outside_float_ms"] + run_ms
    assert sum(row["float_ms"] for row in int8["kinds"]) == pytest.approx(floats)
    for row in int8["regions"]:
        assert row["saves_ms"] == pytest.approx(row["float_ms"] - row["int8_ms"])
        assert sum(row["int8_parts_ms"].values()) == pytest.approx(row["int8_ms"])
    saved = [row["saves_ms"] for row in int8["regions"]]
    assert saved == sorted(saved, reverse=True)


def test_operators_and_kinds_add_up_to_the_estimate(runtime):
    document, estimator = explained(runtime)
    ops, kinds = document["ops"], document["kinds"]
    shares = [row["share"] for row in ops]
    assert shares == sorted(shares, reverse=True)
    assert sum(row["share"] for row in kinds) == pytest.approx(1.0)
    run_ms = estimator.composition.per_model_us / 1e3
    assert sum(row["latency_ms"] for row in kinds) == pytest.approx(sum(row["latency_ms"] for row in ops) + run_ms)
    for row in ops:
        low, high = row["interval90_ms"]
        assert low <= row["latency_ms"] <= high


def test_the_speedup_is_of_the_given_model_and_the_mix_is_not_slower(runtime):
    document, estimator = explained(runtime)
    given = estimator.estimate(executed(network(), runtime)).latency_ms
    forms = {row["form"]: row for row in document["int8"]["forms"]}
    for row in forms.values():
        assert row["speedup"] == pytest.approx(given / row["latency_ms"])
        assert row["speedup_interval90"][0] <= row["speedup"] <= row["speedup_interval90"][1]
    assert forms["mixed"]["latency_ms"] <= forms["int8"]["latency_ms"]


def test_conversions_are_charged_to_the_region_that_wants_integers(runtime):
    model = network()
    forms = Forms(model, runtime, lambda form: executed(form, runtime))
    graph = PricedGraph(forms.probes()["int8"].ops, estimator_of())
    split = split_time(graph, forms.regions)
    of = dict(zip((region.name for region in forms.regions), split.regions, strict=True))
    assert of["conv1"].us["conversion"] > 0  # the input arrives in float
    for part in split.regions:
        for op in part.part("conversion"):
            assert op.signature.op_type in ("QuantizeLinear", "DequantizeLinear", "Reorder", "Convert", "Subgraph")
    charged = sum(region.us["conversion"] for region in split.regions) + split.outside.us["conversion"]
    assert charged == pytest.approx(sum(op.price.latency_us for op in graph.ops if op.role == "conversion"))
    softplus = [op for op in split.outside.ops if "soft" in op.op.sources]
    assert len(softplus) <= 1


def test_what_has_no_integer_kernel_is_named_in_the_float_model_and_in_the_int8_form():
    document, _ = explained("onnxruntime")
    (row,) = [row for row in document["ops"] if row["label"] == "soft"]
    assert row["note"].startswith("would stay in float in int8: onnxruntime has no integer kernel for Softplus")
    told = " ".join(row["note"] for row in document["int8"]["regions"])
    assert "soft (onnxruntime has no integer kernel for Softplus)" in told


def test_regions_that_get_slower_are_named_with_their_reason():
    document, _ = explained("onnxruntime", Rule(integer_macs_per_us=5e3))
    int8 = document["int8"]
    rows = {row["region"]: row for row in int8["regions"]}
    assert "conv2" in int8["slower"]
    assert rows["conv2"]["saves_ms"] < 0
    assert "the integer kernel takes" in rows["conv2"]["note"]
    assert any(sentence.startswith("int8 everywhere: estimated 0.") for sentence in int8["sentences"])
    assert any("would get slower" in sentence for sentence in int8["sentences"])
    assert any(sentence.startswith("what holds int8 back:") for sentence in int8["sentences"])
    forms = {row["form"]: row for row in int8["forms"]}
    assert set(int8["float_regions"]) >= {"conv2"}
    assert forms["mixed"]["speedup"] > forms["int8"]["speedup"]


def test_an_activation_that_the_integer_kernel_does_not_compute_is_named_with_its_time():
    document, _ = explained("onnxruntime")
    rows = {row["region"]: row for row in document["int8"]["regions"]}
    assert "Sigmoid, Mul run on their own for " in rows["conv2"]["note"]
    assert "in float that took" in rows["conv2"]["note"]
    assert rows["conv2"]["int8_parts_ms"]["rest"] > 0


def test_a_quantized_model_and_one_without_units_say_so():
    engine = get_runtime("onnxruntime")
    nodes = [helper.make_node("Softplus", ["x"], ["y"], "soft")]
    plain = float_model(nodes, {}, {"x": (1, 8)}, {"y": (1, 8)})
    document = explanation(plain, executed(plain), estimator_of(), engine, executed)
    assert document["int8"] is None
    assert document["int8_unavailable"] == "no operator of it has an integer form in onnxruntime"
    forms = Forms(network(), "onnxruntime", executed)
    quantized = forms.probes()["int8"].model
    again = explanation(quantized, executed(quantized), estimator_of(), engine, executed)
    assert again["int8"] is None
    assert again["int8_unavailable"] == "the model is quantized already"
    assert any(row["integer"] for row in again["ops"])


def test_every_form_is_executed_once(runtime):
    model, engine = network(), get_runtime(runtime)
    seen = []

    def execute(form):
        seen.append(form)
        return executed(form, runtime)

    ops = executed(model, runtime)
    explanation(model, ops, estimator_of(), engine, execute)
    assert len(seen) <= 6
    assert all(dataclasses.is_dataclass(op) for op in ops)
