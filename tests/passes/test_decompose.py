"""Decomposition: the parts compute what the layer did, as well as their rank allows, and save what they promise."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from autocompress.errors import DataError, RecipeError
from autocompress.graph.cost import model_cost
from autocompress.graph.index import GraphIndex
from autocompress.graph.model import model_bytes
from autocompress.graph.shapes import bind
from autocompress.passes.decompose import (
    METHODS,
    DecomposeConfig,
    DecomposePayload,
    decomposable_layers,
    decompose,
    resolve,
    why_not,
)
from autocompress.passes.decompose.grams import input_grams, stream_grams
from autocompress.passes.decompose.layers import kernel_of
from autocompress.passes.fold import fold

sys.path.append(str(Path(__file__).parent))
from layer_graphs import LayerGraph, batches_of, run, samples

CONVOLUTIONS = {
    "3x3": {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]},
    "strided": {"kernel_shape": [3, 3], "pads": [0, 1, 2, 1], "strides": [2, 1]},
    "dilated": {"kernel_shape": [3, 3], "pads": [2, 1, 2, 1], "dilations": [2, 1]},
    "uneven": {"kernel_shape": [2, 3], "strides": [1, 2]},
    "same": {"kernel_shape": [3, 3], "auto_pad": "SAME_LOWER", "strides": [2, 2]},
    "valid": {"kernel_shape": [3, 2], "auto_pad": "VALID"},
}


def convolution(case="3x3", inputs=5, outputs=6, *, bias=True, seed=0, size=9):
    g = LayerGraph(seed)
    attributes = CONVOLUTIONS[case]
    operands = [g.input("x", inputs, size, size + 1), g.random(outputs, inputs, *attributes["kernel_shape"])]
    if bias:
        operands.append(g.random(outputs))
    g.output(g.op("Relu", g.op("Conv", *operands, **attributes)))
    return g.model()


def pointwise(stride=1):
    g = LayerGraph()
    conv = g.op(
        "Conv", g.input("x", 6, 8, 8), g.random(7, 6, 1, 1), g.random(7), strides=[stride, stride], pads=[1] * 4
    )
    g.output(g.op("Relu", conv))
    return g.model()


def matrix(op="Gemm", **attributes):
    g = LayerGraph()
    x = g.input("x", 6) if op == "Gemm" else g.input("x", 4, 6)
    weight = g.random(*((7, 6) if attributes.get("transB") else (6, 7)))
    result = g.op(op, x, weight, *([g.random(7)] if op == "Gemm" else []), **attributes)
    g.output(g.op("Tanh", result if op == "Gemm" else g.op("Add", result, g.random(7))))
    return g.model()


def sole_layer(model):
    layers, left_alone = decomposable_layers(model)
    assert not left_alone
    (layer,) = layers.values()
    return layer


def with_ranks(model, method, ranks, gram=None):
    """The model with its only layer decomposed, whether or not that saves anything."""
    layer = sole_layer(model)
    parts = METHODS[method].factorize(kernel_of(layer, GraphIndex(model)), ranks, gram)
    rank = ranks if len(ranks) == 2 else ranks[0]
    payload = DecomposePayload({layer.name: tuple(part.astype(np.float32) for part in parts)})
    return decompose(model, DecomposeConfig(((layer.name, method, rank),)), payload)


def assert_same(model, changed):
    onnx.checker.check_model(changed, full_check=True)
    feeds = samples(model)
    expected, found = run(model, feeds), run(changed, feeds)
    assert np.abs(found - expected).max() <= 2e-5 * max(1.0, np.abs(expected).max())
    assert [o.name for o in changed.graph.output] == [o.name for o in model.graph.output]


@pytest.mark.parametrize("whitened", [False, True])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_full_rank_reproduces_a_convolution(case, method, whitened):
    model = convolution(case, bias=case != "uneven")
    layer = sole_layer(model)
    gram = input_grams(model, [layer], batches_of(samples(model)))[layer.name] if whitened else None
    changed = with_ranks(model, method, METHODS[method].full_ranks(layer), gram)
    assert len(changed.graph.node) == len(model.graph.node) + METHODS[method].rank_count
    assert_same(model, changed)


@pytest.mark.parametrize("method", ["svd", "tucker2"])
@pytest.mark.parametrize("axes", [1, 3])
def test_kernels_of_one_and_three_axes(axes, method):
    g = LayerGraph()
    weight = g.random(6, 5, *[3] * axes)
    attributes = {"pads": [1] * 2 * axes, "strides": [2] * axes}
    g.output(g.op("Conv", g.input("x", 5, *[6] * axes), weight, g.random(6), **attributes))
    model = g.model()
    layer = sole_layer(model)
    gram = input_grams(model, [layer], batches_of(samples(model)))[layer.name]
    assert_same(model, with_ranks(model, method, METHODS[method].full_ranks(layer), gram))
    assert "two dimensions" in why_not(layer, "spatial", (1,))


MATRICES = {
    "Gemm": lambda: matrix(),
    "scaled Gemm": lambda: matrix(transB=1, alpha=0.5, beta=0.25),
    "MatMul": lambda: matrix("MatMul"),
    "1x1": lambda: pointwise(),
    "strided 1x1": lambda: pointwise(2),
}


@pytest.mark.parametrize("case", MATRICES)
def test_full_rank_reproduces_a_matrix(case):
    model = MATRICES[case]()
    layer = sole_layer(model)
    changed = with_ranks(model, "svd", METHODS["svd"].full_ranks(layer))
    assert_same(model, changed)
    assert changed.graph.node[1].name == layer.name
    assert changed.graph.node[1].output == GraphIndex(model).nodes[layer.name].output


def test_vertical_then_horizontal_saves_two_thirds():
    model = convolution(inputs=64, outputs=64, bias=False)
    layer = sole_layer(model)
    config = DecomposeConfig(((layer.name, "spatial", 32),), whitened=False)
    changed = decompose(model, config, resolve(model, config))
    weights = [list(w.dims) for w in changed.graph.initializer]
    assert weights == [[32, 64, 3, 1], [64, 32, 1, 3]]
    shares = [model_cost(bind(m)).total.macs for m in (changed, model)]
    assert shares[0] / shares[1] == pytest.approx(1 / 3, abs=1e-12)


@pytest.mark.parametrize(
    ("case", "method", "ranks"),
    [
        ("3x3", "svd", (2,)),
        ("strided", "spatial", (3,)),
        ("strided", "tucker2", (2, 3)),
        ("3x3", "tucker2", (2, 2)),
    ],
)
def test_promised_share_of_multiply_adds(case, method, ranks):
    # Sizes that strides divide: at borders, shares differ from those of whole positions.
    g = LayerGraph()
    attributes = {"pads": [1, 1, 1, 1], **({"strides": [2, 2]} if case == "strided" else {})}
    g.output(g.op("Conv", g.input("x", 5, 16, 16), g.random(6, 5, 3, 3), **attributes))
    model = bind(g.model())
    layer = sole_layer(model)
    changed = with_ranks(model, method, ranks)
    measured = model_cost(changed).total.macs / model_cost(model).total.macs
    assert measured == pytest.approx(METHODS[method].relative_macs(layer, ranks), rel=1e-9)


@pytest.mark.parametrize("build", [matrix, lambda: matrix("MatMul"), pointwise, convolution])
def test_whitened_svd_is_the_best_of_its_rank(build):
    """No rank-2 weight has a smaller output error: alternating least squares from many starts finds none."""
    model = build()
    layer = sole_layer(model)
    gram = input_grams(model, [layer], batches_of(samples(model)))[layer.name]
    weight = kernel_of(layer, GraphIndex(model)).reshape(layer.outputs, -1)

    def error(approximation):
        difference = weight - approximation
        return np.sum((difference @ gram) * difference)

    first, last = METHODS["svd"].factorize(kernel_of(layer, GraphIndex(model)), (2,), gram)
    ours = error(last.reshape(layer.outputs, 2) @ first.reshape(2, -1))
    rng = np.random.default_rng(0)
    best = np.inf
    for _ in range(8):
        right = rng.standard_normal((2, weight.shape[1]))
        for _ in range(300):
            left = weight @ gram @ right.T @ np.linalg.inv(right @ gram @ right.T)
            right = np.linalg.lstsq(left, weight, rcond=None)[0]
        best = min(best, error(left @ right))
    assert ours <= best * (1 + 1e-9)
    assert ours == pytest.approx(best, rel=1e-3)
    plain_first, plain_last = METHODS["svd"].factorize(kernel_of(layer, GraphIndex(model)), (2,), None)
    assert ours < 0.9 * error(plain_last.reshape(layer.outputs, 2) @ plain_first.reshape(2, -1))


@pytest.mark.parametrize(("method", "ranks"), [("svd", (2,)), ("spatial", (4,)), ("tucker2", (2, 3))])
def test_whitening_lowers_the_error_at_the_output(method, ranks):
    model = convolution("dilated", inputs=6, outputs=8)
    feeds = samples(model, count=6)
    layer = sole_layer(model)
    gram = input_grams(model, [layer], batches_of(feeds))[layer.name]
    expected = run(model, feeds)
    plain, whitened = (
        np.square(run(with_ranks(model, method, ranks, g), feeds) - expected).sum() for g in (None, gram)
    )
    assert whitened < 0.8 * plain


def test_plain_tucker_is_better_than_cutting_each_unfolding():
    model = convolution(inputs=6, outputs=8)
    layer = sole_layer(model)
    kernel = kernel_of(layer, GraphIndex(model))
    first, core, last = METHODS["tucker2"].factorize(kernel, (3, 4), None)
    found = np.einsum("oq,qpyx,pi->oiyx", last[:, :, 0, 0], core, first[:, :, 0, 0])
    out = np.linalg.svd(kernel.reshape(8, -1))[0][:, :4]
    inn = np.linalg.svd(kernel.transpose(1, 0, 2, 3).reshape(6, -1))[0][:, :3]
    cut = np.einsum("oa,pa,ib,jb,pjyx->oiyx", out, out, inn, inn, kernel)
    assert np.linalg.norm(found - kernel) < np.linalg.norm(cut - kernel)


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_moments_are_those_of_the_patches(case):
    """The Gram matrix gives the energy of the layer's output, so patches are where the kernel meets them."""
    model = convolution(case, bias=False)
    feeds = samples(model)
    layer = sole_layer(model)
    gram = input_grams(model, [layer], batches_of(feeds))[layer.name]
    weight = kernel_of(layer, GraphIndex(model)).reshape(layer.outputs, -1)
    conv = GraphIndex(model).nodes[layer.name].output[0]
    del model.graph.output[:]
    model.graph.output.extend([onnx.helper.make_tensor_value_info(conv, onnx.TensorProto.FLOAT, None)])
    output = run(model, feeds)
    assert np.mean(np.square(output), axis=(0, 2, 3)) == pytest.approx(np.diag(weight @ gram @ weight.T), rel=1e-3)


def test_the_same_payload_gives_the_same_bytes_and_the_model_is_not_changed():
    model = convolution(inputs=12, outputs=12)
    before = model_bytes(model)
    layer = sole_layer(model)
    config = DecomposeConfig(((layer.name, "tucker2", (4, 5)),))
    payload = resolve(model, config, batches_of(samples(model)))
    again = DecomposePayload.from_arrays(payload.to_arrays())
    first = model_bytes(decompose(model, config, payload))
    assert first == model_bytes(decompose(model, DecomposeConfig.from_dict(config.to_dict()), again))
    assert first != before == model_bytes(model)
    assert len(first) < len(before)


def test_a_bound_on_memory_changes_nothing():
    g = LayerGraph()
    x = g.op("Relu", g.op("Conv", g.input("x", 4, 8, 8), g.random(6, 4, 3, 3)))
    g.output(g.op("Conv", x, g.random(5, 6, 3, 3)))
    model = g.model()
    layers = list(decomposable_layers(model)[0].values())
    passes = []

    def batches():
        passes.append(1)
        return batches_of(samples(model))()

    grams = [dict(stream_grams(model, layers, batches, max_bytes=size)) for size in (1, 10**9)]
    assert len(passes) == 3
    for layer in layers:
        np.testing.assert_array_equal(grams[0][layer.name], grams[1][layer.name])


@pytest.mark.parametrize("build", [matrix, lambda: matrix("MatMul"), pointwise])
def test_folding_does_not_put_the_parts_together_again(build):
    model = build()
    changed = with_ranks(model, "svd", (2,))
    assert model_bytes(fold(changed)) == model_bytes(changed)


def test_samples_come_in_batches_of_any_size():
    model = convolution()
    layer = sole_layer(model)
    feeds = samples(model, count=5)
    grams = [input_grams(model, [layer], batches_of(feeds, size))[layer.name] for size in (1, 3, 5)]
    for gram in grams[1:]:
        np.testing.assert_allclose(gram, grams[0], rtol=1e-5, atol=1e-6)


def unsuitable():
    g = LayerGraph()
    x = g.op("Conv", g.input("x", 4, 6, 6), g.random(4, 1, 3, 3), group=4, pads=[1] * 4)
    shared = g.random(4, 4, 3, 3)
    x = g.op("Conv", g.op("Conv", x, shared, pads=[1] * 4), shared, pads=[1] * 4)
    x = g.op("ConvTranspose", x, g.random(4, 4, 2, 2))
    x = g.op("Conv", x, g.op("Mul", g.random(4, 4, 1, 1), g.op("ReduceMean", x, keepdims=0)))
    x = g.op("Conv", x, g.constant(np.full((3, 4, 1, 1), np.nan, np.float32)))
    g.output(g.op("Conv", x, g.random(4, 3, 1, 1)))
    return g.model()


def test_what_cannot_be_decomposed_is_named_and_the_rest_still_is():
    model = unsuitable()
    layers, left_alone = decomposable_layers(model)
    for part in ("grouped", "shared", "transposed", "computed", "NaN"):
        assert any(part in reason for reason in left_alone.values())
    (last,) = layers
    config = DecomposeConfig(tuple((name, "svd", 1) for name in [*left_alone, last]), whitened=False)
    payload = resolve(model, config)
    assert set(payload.left_alone) == set(left_alone)
    assert set(payload.factors) == {last}
    assert len(decompose(model, config, payload).graph.node) == len(model.graph.node) + 1


def test_ranks_that_save_nothing_are_left_alone_and_those_above_full_refused():
    model = matrix()
    layer = sole_layer(model)
    config = DecomposeConfig(((layer.name, "svd", 4),), whitened=False)
    payload = resolve(model, config)
    assert "saves nothing: 1.24" in payload.left_alone[layer.name]
    assert model_bytes(decompose(model, config, payload)) == model_bytes(model)
    with pytest.raises(RecipeError, match="at most its full rank, 6"):
        resolve(model, DecomposeConfig(((layer.name, "svd", 7),), whitened=False))
    assert "two dimensions" in why_not(layer, "spatial", (1,))
    assert "core" in why_not(sole_layer(convolution(inputs=30, outputs=20)), "tucker2", (2, 20))


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((("a", "cp", 3),), "must be one of"),
        ((("a", "svd", 0),), "from 1 up"),
        ((("a", "svd", (1, 2)),), "takes a number"),
        ((("a", "tucker2", 3),), "pair"),
        ((("a", "svd", True),), "from 1 up"),
        ((("a", "svd", 1), ("a", "svd", 2)), "twice"),
        ((("", "svd", 1),), "no name"),
    ],
)
def test_malformed_configurations(layers, message):
    with pytest.raises(RecipeError, match=message):
        DecomposeConfig(layers)


def test_malformed_rows_and_missing_data():
    with pytest.raises(RecipeError, match="unknown field"):
        DecomposeConfig.from_dict({"ranks": 3})
    with pytest.raises(RecipeError, match="list of"):
        DecomposeConfig.from_dict({"layers": [["a", "svd"]]})
    with pytest.raises(RecipeError, match="True or False"):
        DecomposeConfig(whitened=1)
    model = matrix()
    layer = sole_layer(model)
    with pytest.raises(RecipeError, match="no layer 'z'"):
        resolve(model, DecomposeConfig((("z", "svd", 1),)))
    config = DecomposeConfig(((layer.name, "svd", 1),))
    with pytest.raises(RecipeError, match="need samples"):
        resolve(model, config)
    with pytest.raises(DataError, match="no samples"):
        resolve(model, config, lambda: iter([]))
    with pytest.raises(DataError, match="NaN"):
        resolve(model, config, lambda: iter([{"x": np.full((2, 6), np.nan, np.float32)}]))
    payload = resolve(model, config, batches_of(samples(model)))
    with pytest.raises(RecipeError, match="fit no layer"):
        decompose(convolution(), config, payload)
    with pytest.raises(RecipeError, match="other shapes"):
        decompose(
            matrix(transB=1), config, DecomposePayload({layer.name: tuple(p.T for p in payload.factors[layer.name])})
        )
    with pytest.raises(RecipeError, match="missing"):
        DecomposePayload.from_arrays({"a:1": np.ones((1, 1))})
