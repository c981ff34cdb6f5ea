"""Zero channels for integer convolutions: the same numbers, by kernels that stay integer, and only where they pay."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from autocompress.graph.model import model_bytes
from autocompress.passes.quantize import QuantizeConfig, Quantizer
from autocompress.passes.quantize.padding import pad_channels
from autocompress.passes.reconstruct import ReconstructConfig
from autocompress.passes.reconstruct.payload import ReconstructPayload
from autocompress.passes.reconstruct.resolve import resolve
from autocompress.passes.sparsify.report import report
from autocompress.recipe.recipe import FrozenRecipe, Recipe
from autocompress.report.structure.facts import layer_facts
from autocompress.runtimes import get_runtime
from autocompress.search.attribution import attribute_ops

sys.path.append(str(Path(__file__).parent))
from quantize_models import Arrays, FloatGraph, Study, executed, feeds_for, largest_step, reference, run, weights_of

UINT8 = QuantizeConfig()
STEM = "Conv_0"


def image(
    channels: int = 3, outputs: int = 16, kernel: int = 3, *, group: int = 1, **attributes: object
) -> onnx.ModelProto:
    """Two convolutions, the first of which reads the input."""
    graph = FloatGraph(3)
    shape = (outputs, channels // group, kernel, kernel)
    settings = {"pads": [kernel // 2] * 4, "group": group, **attributes}
    x = graph.op("Conv", graph.input("x", channels, 12, 12), graph.random(*shape), graph.random(outputs), **settings)
    graph.output(graph.conv(graph.op("Relu", x), outputs, 8))
    return graph.model()


def unpadded(study: Study, config: QuantizeConfig) -> onnx.ModelProto:
    """What the quantization step emits before anything is padded."""
    frozen = study.freeze(config)
    assert frozen.payload is not None
    return study.builder.quantizer.emit(config, frozen.payload)


def pads(model: onnx.ModelProto) -> list[str]:
    return [node.name for node in model.graph.node if node.op_type == "Pad"]


def assert_same(found: Arrays, expected: Arrays) -> None:
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)


@pytest.mark.parametrize("activation", ["uint8", "int8"])
@pytest.mark.parametrize("weights", ["per_channel", "per_tensor"])
@pytest.mark.parametrize("symmetric", [False, True])
def test_the_numbers_and_the_kernels_stay(activation: str, weights: str, symmetric: bool) -> None:
    study = Study(image())
    config = QuantizeConfig(activation_dtype=activation, activation_symmetric=symmetric, weight_granularity=weights)
    candidate = study.build(config)
    assert pads(candidate) == [f"{STEM}_weight_pad", f"{STEM}_pad"]
    assert_same(run(candidate, study.feeds), run(unpadded(study, config), study.feeds))
    kernels = executed(candidate, study.feeds)
    assert kernels == executed(unpadded(study, config), study.feeds) + Counter(Pad=1)
    if not symmetric:  # a symmetric grid does not end where the Relu of this model clips
        assert kernels == {"Pad": 1, "QuantizeLinear": 1, "QLinearConv": 2, "DequantizeLinear": 1}
    step = largest_step(candidate)
    found, expected = run(candidate, study.feeds), reference(candidate, study.feeds)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1.01 * step)


CASES = {
    "four bits": (image(), QuantizeConfig(weight_dtype="int4")),
    "one channel": (image(1), UINT8),
    "uneven borders": (image(pads=[0, 1, 2, 1]), UINT8),
    "dilated": (image(6, 20, dilations=[2, 2]), UINT8),
    "seven by seven": (image(3, 16, 7), UINT8),
    "no bias correction": (image(), QuantizeConfig(bias_correction=False)),
}


@pytest.mark.parametrize("name", CASES)
def test_padded(name: str) -> None:
    model, config = CASES[name]
    study = Study(model)
    candidate = study.build(config)
    assert f"{STEM}_pad" in pads(candidate)
    assert executed(candidate, study.feeds)["QLinearConv"] == 2
    assert_same(run(candidate, study.feeds), run(unpadded(study, config), study.feeds))


ELSEWHERE = {
    "whole channels": (image(4), UINT8),
    "few results": (image(outputs=12), UINT8),
    "uneven results": (image(outputs=18), UINT8),
    "much work": (image(1, 16, 5), UINT8),
    "groups": (image(6, 18, group=3), UINT8),
    "unsigned weights": (image(), QuantizeConfig(weight_dtype="uint8")),
    "float ends": (image(), QuantizeConfig(float_ends="first")),
    "16 bits": (image(), QuantizeConfig(activation_dtype="uint16")),
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_left_alone(name: str) -> None:
    model, config = ELSEWHERE[name]
    assert not pads(Study(model).build(config))


def test_inner_convolutions_are_left_alone_and_those_behind_float_are_not() -> None:
    graph = FloatGraph(1)
    x = graph.op("Relu", graph.conv(graph.input("x", 4, 8, 8), 4, 10))
    graph.output(graph.conv(x, 10, 16))
    study = Study(graph.model())
    assert not pads(study.build())
    config = QuantizeConfig(exceptions=((STEM, "fp32"),))
    mixed = study.build(config)
    assert "Conv_2_pad" in pads(mixed)
    assert_same(run(mixed, study.feeds), run(unpadded(study, config), study.feeds))


def test_channels_that_lie_innermost_are_left_alone() -> None:
    graph = FloatGraph(1)
    x = graph.op("Transpose", graph.input("x", 8, 8, 3), perm=[0, 3, 1, 2])
    x = graph.op("Sub", x, graph.random(3, 1, 1))
    graph.output(graph.conv(x, 3, 16))
    assert not pads(Study(graph.model()).build(QuantizeConfig(scope="weighted")))


def test_others_read_the_input_as_it_is() -> None:
    graph = FloatGraph(2)
    x = graph.input("x", 3, 8, 8)
    graph.output(graph.op("Add", graph.conv(graph.op("Relu", graph.conv(x, 3, 16)), 16, 3), x))
    study = Study(graph.model())
    candidate = study.build()
    assert f"{STEM}_pad" in pads(candidate)
    assert executed(candidate, study.feeds)["QLinearAdd"] == 1
    assert_same(run(candidate, study.feeds), run(unpadded(study, UINT8), study.feeds))


def test_simulations_and_other_runtimes_are_not_padded() -> None:
    study = Study(image())
    simulated = study.builder.build(study.freeze(), simulate=True)
    assert not pads(simulated)
    step = largest_step(study.build())
    exact, rounded = run(study.build(), study.feeds), run(simulated, study.feeds)
    for name in exact:
        np.testing.assert_allclose(exact[name], rounded[name], atol=2.01 * step)
    assert not pads(Study(image(), runtime="openvino").build())


def test_what_is_reconstructed_or_trained_has_the_shape_without_padding() -> None:
    study = Study(image())
    frozen = study.freeze()
    assert frozen.payload is not None
    config = ReconstructConfig(method="gptq")
    found = resolve(
        study.builder.prepared, study.builder.quantizer, UINT8, frozen.payload, config, lambda: iter([study.feeds])
    )
    stem = study.units[STEM].weight
    assert found.integers[stem].shape == (16, 3, 3, 3)
    trained = {f"{STEM}_weight_quantized": (found.integers[stem] // 2).astype(np.int8)}
    for payload in (found, ReconstructPayload(trained=trained)):
        recipe = Recipe(UINT8, reconstruct=config)
        full = FrozenRecipe(
            recipe, frozen.model_fingerprint, frozen.runtime, {**frozen.payloads, "reconstruct": payload}
        )
        candidate = study.builder.build(full)
        assert f"{STEM}_pad" in pads(candidate)
        plain = payload.finished(study.builder.quantizer.emit(UINT8, payload.applied_to(frozen.payload)))
        assert_same(run(candidate, study.feeds), run(plain, study.feeds))
        name = f"{STEM}_weight_quantized"
        np.testing.assert_array_equal(weights_of(candidate)[name], payload.trained.get(name, found.integers[stem]))


@pytest.mark.parametrize("dtype", ["int8", "int4"])
def test_added_zeros_are_no_sparsity_and_no_work(dtype: str) -> None:
    config = QuantizeConfig(weight_dtype=dtype)
    study = Study(image())
    padded, plain = study.build(config), unpadded(study, config)
    assert report(padded) == report(plain)
    assert report(padded)[0].elements == 16 * 3 * 9
    assert [facts.macs for facts in layer_facts(sized(padded))] == [facts.macs for facts in layer_facts(sized(plain))]
    assert abs(len(model_bytes(padded)) - len(model_bytes(plain))) < 1000


def sized(model: onnx.ModelProto) -> onnx.ModelProto:
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    return model


def test_the_runtime_sees_a_dense_kernel_and_the_pad_belongs_to_its_layer() -> None:
    study = Study(image())
    first = {name: values[:1] for name, values in study.feeds.items()}
    ops = get_runtime("onnxruntime").executed_ops(model_bytes(study.build()), first, standalone=False)
    units = study.builder.quantizer.units
    owners = dict(zip([op.signature.op_type for op in ops], attribute_ops(ops, units), strict=True))
    assert owners["Pad"] == 0
    stem = next(op.signature for op in ops if op.signature.op_type == "QLinearConv")
    weight = next(t for t in stem.inputs if t is not None and t.constant and len(t.shape) == 4)
    assert weight.shape == (16, 4, 3, 3)
    assert stem.sparsity == 0.0


def test_a_pruned_kernel_is_still_sparse() -> None:
    model = image(4)
    weight = next(w for w in model.graph.initializer if list(w.dims) == [16, 4, 3, 3])
    values = numpy_helper.to_array(weight).copy()
    values[:, 2:] = 0
    values[::2] = 0
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    ops = get_runtime("onnxruntime").executed_ops(
        model_bytes(Study(model).build()), feeds_for(model, 1), standalone=False
    )
    kernels = [op.signature.sparsity for op in ops if op.signature.op_type == "QLinearConv"]
    assert kernels[0] == 0.5


def test_in_int8_a_pad_behind_the_quantize_would_cost_the_kernel() -> None:
    study = Study(image())
    config = QuantizeConfig(activation_dtype="int8")
    rule = study.builder.rules.channel_padding
    assert rule is not None
    assert rule.between == {"uint8"}
    added = {STEM: (0, 0, 0, 0, 0, 1, 0, 0)}
    for between, kernels in ((rule.between, 2), (frozenset({"int8"}), 1)):
        emitted = unpadded(study, config)
        pad_channels(emitted, added, replace(rule, between=between))
        assert executed(emitted, study.feeds)["QLinearConv"] == kernels


def test_runtimes_that_reward_nothing_get_nothing() -> None:
    study = Study(image())
    rules = replace(study.builder.rules, channel_padding=None)
    quantizer = Quantizer(study.builder.prepared, rules, frozenset())
    emitted = unpadded(study, UINT8)
    before = model_bytes(emitted)
    quantizer.pad_channels(UINT8, emitted)
    assert model_bytes(emitted) == before
