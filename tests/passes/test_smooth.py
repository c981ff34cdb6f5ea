"""SmoothQuant against a direct implementation on a small encoder, and where the factors go."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from autocompress.errors import ConfigError
from autocompress.graph.model import model_bytes
from autocompress.passes.equalize import Equalized, SmoothConfig, apply_scales, smooth
from autocompress.passes.quantize import QuantizeConfig
from autocompress.recipe.builder import prepare

sys.path.append(str(Path(__file__).parent))
from quantize_models import FloatGraph, Study, feeds_for, run

WIDTH, HIDDEN, TOKENS = 8, 16, 6
ALL = ("norm", "layer", "insert")


def normalized(g: FloatGraph, x: str, decomposed: bool) -> str:
    """A normalization of which two channels are much larger than the others, as in large language models."""
    scale = np.full(WIDTH, 1.0, np.float32)
    scale[[1, 5]] = 40.0
    gamma, beta = g.constant(scale), g.random(WIDTH)
    if not decomposed:
        return g.op("LayerNormalization", x, gamma, beta, axis=-1)
    centred = g.op("Sub", x, g.op("ReduceMean", x, axes=[-1]))
    variance = g.op("ReduceMean", g.op("Mul", centred, centred), axes=[-1])
    deviation = g.op("Sqrt", g.op("Add", variance, g.constant(np.float32(1e-5))))
    return g.op("Add", g.op("Mul", g.op("Div", centred, deviation), gamma), beta)


def encoder(decomposed: bool = False, post_norm: bool = False) -> onnx.ModelProto:
    """One block: attention over two heads, then a Relu network, each behind a normalization and a residual."""
    g = FloatGraph()

    def heads(x: str, perm: list[int]) -> str:
        shape = g.constant(np.array([0, 0, 2, WIDTH // 2]))
        return g.op("Transpose", g.op("Reshape", x, shape), perm=perm)

    def dense(x: str, rows: int, columns: int, name: str) -> str:
        weight = g.constant((g.rng.standard_normal((rows, columns)) * 0.3).astype(np.float32), name)
        return g.op("Add", g.op("MatMul", x, weight), g.random(columns))

    x = g.input("x", TOKENS, WIDTH)
    if post_norm:
        x = normalized(g, x, decomposed)
    n = x if post_norm else normalized(g, x, decomposed)
    q, k, v = (dense(n, WIDTH, WIDTH, name) for name in ("wq", "wk", "wv"))
    scores = g.op("MatMul", heads(q, [0, 2, 1, 3]), heads(k, [0, 2, 3, 1]))
    scores = g.op("Mul", scores, g.constant(np.float32(0.005)))
    mixed = g.op("MatMul", g.op("Softmax", scores), heads(v, [0, 2, 1, 3]))
    mixed = g.op("Reshape", g.op("Transpose", mixed, perm=[0, 2, 1, 3]), g.constant(np.array([0, 0, WIDTH])))
    x = g.op("Add", x, dense(mixed, WIDTH, WIDTH, "wo"))
    n = normalized(g, x, decomposed)
    y = dense(g.op("Relu", dense(n, WIDTH, HIDDEN, "w1")), HIDDEN, WIDTH, "w2")
    g.output(g.op("Add", n if post_norm else x, y))
    return prepare(g.model())


def weights(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {w.name: numpy_helper.to_array(w).astype(np.float64) for w in model.graph.initializer}


def reader_inputs(model: onnx.ModelProto) -> dict[str, str]:
    """Weight name -> the tensor that it multiplies."""
    known = weights(model)
    return {n.input[1]: n.input[0] for n in model.graph.node if n.op_type == "MatMul" and n.input[1] in known}


def activations(model: onnx.ModelProto, feeds) -> dict[str, np.ndarray]:
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    del shown.graph.output[:]
    names = sorted(set(reader_inputs(model).values()))
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return run(shown, feeds)


def close(model: onnx.ModelProto, changed: onnx.ModelProto, feeds) -> bool:
    (old,), (new,) = run(model, feeds).values(), run(changed, feeds).values()
    return bool(np.abs(new - old).max() <= 1e-5 * np.abs(old).max())


def reasons(result: Equalized) -> list[str]:
    return [entry.reason for entry in result.skipped]


@pytest.mark.parametrize("decomposed", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.8, 1.0])
def test_factors_are_those_of_a_direct_implementation(decomposed, alpha):
    model = encoder(decomposed)
    study = Study(model)
    old, source = weights(model), reader_inputs(model)
    inputs = activations(model, study.feeds)
    result = smooth(model, study.statistics, SmoothConfig(alpha=alpha))
    new = weights(result.model)

    def expected(names: tuple[str, ...], divided: np.ndarray | None = None) -> np.ndarray:
        """Equation 4; ``divided`` are factors that the rows' outputs have been divided by before."""
        largest = np.abs(inputs[source[names[0]]]).reshape(-1, len(old[names[0]])).max(axis=0).astype(np.float64)
        columns = [old[name] / (1.0 if divided is None or name != names[-1] else divided) for name in names]
        return largest**alpha / np.abs(np.concatenate(columns, axis=1)).max(axis=1) ** (1 - alpha)

    attention = expected(("wq", "wk", "wv"))
    np.testing.assert_allclose(new["wq"] / old["wq"], np.tile(attention[:, None], WIDTH), rtol=1e-5)
    np.testing.assert_allclose(new["wk"] / old["wk"], np.tile(attention[:, None], WIDTH), rtol=1e-5)
    values = expected(("wo",))
    np.testing.assert_allclose(new["wo"] / old["wo"], np.tile(values[:, None], WIDTH), rtol=1e-5)
    np.testing.assert_allclose(new["wv"] / old["wv"], attention[:, None] / values[None, :], rtol=1e-5)
    network = expected(("w1",))
    hidden = expected(("w2",))
    np.testing.assert_allclose(new["w1"] / old["w1"], network[:, None] / hidden[None, :], rtol=1e-5)
    np.testing.assert_allclose(new["w2"] / old["w2"], np.tile(hidden[:, None], WIDTH), rtol=1e-5)
    assert close(model, result.model, study.feeds)
    assert [n.op_type for n in result.model.graph.node] == [n.op_type for n in model.graph.node]
    assert set(weights(result.model)) == set(weights(model))
    assert model_bytes(apply_scales(model, result.payload)) == model_bytes(result.model)


def test_activations_and_weights_get_equal_ranges_at_one_half():
    model = encoder()
    study = Study(model)
    result = smooth(model, study.statistics, SmoothConfig(alpha=0.5, where=("norm",)))
    inputs = activations(result.model, study.feeds)
    new, source = weights(result.model), reader_inputs(result.model)
    for names in (("wq", "wk", "wv"), ("w1",)):
        largest = np.abs(inputs[source[names[0]]]).reshape(-1, WIDTH).max(axis=0)
        read = np.abs(np.concatenate([new[name] for name in names], axis=1)).max(axis=1)
        np.testing.assert_allclose(largest, read, rtol=1e-4)


@pytest.mark.parametrize("alpha", [0.3, 0.5, 0.9])
def test_smoothing_again_changes_nothing_further(alpha):
    config = SmoothConfig(alpha=alpha, where=("norm",))
    model = encoder()
    once = smooth(model, Study(model).statistics, config).model
    again = smooth(once, Study(once).statistics, config)
    assert all(abs(np.log(change.smallest)) + abs(np.log(change.largest)) < 1e-4 for change in again.changes)


@pytest.mark.parametrize("decomposed", [False, True])
def test_a_norm_that_a_residual_reads_gets_a_multiplication(decomposed):
    model = encoder(decomposed, post_norm=True)
    study = Study(model)
    folded = smooth(model, study.statistics, SmoothConfig(alpha=0.5, where=("norm",)))
    assert not folded.changes
    assert ("reduces over different channels" if decomposed else "(LayerNormalization) reads it") in reasons(folded)[0]
    result = smooth(model, study.statistics, SmoothConfig(alpha=0.5, where=ALL))
    assert len(result.stay_float) == len(result.payload.inserted) == 2
    multiplications = [n for n in result.model.graph.node if n.name in result.stay_float]
    assert [n.input[0] for n in multiplications] == list(result.payload.inserted)
    assert close(model, result.model, study.feeds)
    assert model_bytes(apply_scales(model, result.payload)) == model_bytes(result.model)
    onnx.checker.check_model(result.model, full_check=True)


@pytest.mark.parametrize("post_norm", [False, True])
@pytest.mark.parametrize("alpha", [0.5, None])
def test_int8_gets_better(post_norm, alpha):
    model = encoder(post_norm=post_norm)
    (exact,) = run(model, feeds_for(model)).values()

    def error(candidate: onnx.ModelProto, stay_float: tuple[str, ...] = ()) -> float:
        study = Study(candidate)
        stay = {name for name, unit in study.units.items() if unit.weight is None or name in stay_float}
        config = QuantizeConfig().with_precisions(dict.fromkeys(stay, "fp32"))
        (found,) = run(study.build(config), study.feeds).values()
        return float(((found - exact) ** 2).mean() / (exact**2).mean())

    result = smooth(model, Study(model).statistics, SmoothConfig(alpha=alpha, where=ALL))
    assert error(result.model, result.stay_float) < error(model) / 1.5


def test_norms_may_share_their_vectors():
    g = FloatGraph()
    gamma, beta = g.random(WIDTH), g.random(WIDTH)
    x = g.op("LayerNormalization", g.input("x", TOKENS, WIDTH), gamma, beta, axis=-1)
    x = g.op("LayerNormalization", g.op("MatMul", x, g.random(WIDTH, WIDTH)), gamma, beta, axis=-1)
    g.output(g.op("MatMul", x, g.random(WIDTH, 3)))
    model = prepare(g.model())
    study = Study(model)
    result = smooth(model, study.statistics, SmoothConfig(alpha=0.5, where=("norm",)))
    assert len(result.changes) == 2
    assert close(model, result.model, study.feeds)
    assert {gamma, beta} & set(weights(result.model)) == set()
    assert {f"{gamma}_equalized", f"{beta}_equalized_1"} <= set(weights(result.model))


def test_without_statistics_nothing_changes():
    model = encoder()
    result = smooth(model, type(Study(model).statistics)({}, 0), SmoothConfig(alpha=0.5))
    assert not result.changes
    assert sum("no statistics per channel" in reason for reason in reasons(result)) == 4
    assert model_bytes(result.model) == model_bytes(model)


def test_the_model_given_is_not_changed():
    model = encoder(post_norm=True)
    before = model_bytes(model)
    smooth(model, Study(model).statistics, SmoothConfig(where=ALL))
    assert model_bytes(model) == before


@pytest.mark.parametrize(
    ("field", "value"), [("alpha", 1.5), ("alpha", float("nan")), ("headroom", 0.5), ("where", ("norm", "anywhere"))]
)
def test_impossible_configurations_are_refused(field, value):
    with pytest.raises(ConfigError, match=field):
        SmoothConfig(**{field: value})
