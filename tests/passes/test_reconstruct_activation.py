"""Layers are judged by what their activation makes of them."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autocompress.graph.index import GraphIndex
from autocompress.passes.quantize import QuantizeConfig
from autocompress.passes.reconstruct import ReconstructConfig, ReconstructPayload
from autocompress.passes.reconstruct.activation import Clipping, Piece, Tabulated, activation_behind
from autocompress.passes.reconstruct.rows import RowObjective

sys.path.append(str(Path(__file__).parent))
from quantize_models import FloatGraph, Study
from reconstruct_models import candidate, correlated, layer_study, output_error, reconstruct

torch = pytest.importorskip("torch")
torch.set_num_threads(1)


def scalar(graph: FloatGraph, value: float) -> str:
    return graph.constant(np.array([value], np.float32))


def silu(graph: FloatGraph, x: str) -> str:
    return graph.op("Mul", graph.op("Sigmoid", x), x)


def hard_swish_old(graph: FloatGraph, x: str) -> str:
    inner = graph.op("Clip", graph.op("Add", x, scalar(graph, 3)), *(graph.constant(np.float32(v)) for v in (0, 6)))
    return graph.op("Div", graph.op("Mul", x, inner), scalar(graph, 6))


def hard_swish(graph: FloatGraph, x: str) -> str:
    return graph.op("Mul", x, graph.op("HardSigmoid", x, alpha=1 / 6, beta=0.5))


def gelu(graph: FloatGraph, x: str) -> str:
    normal = graph.op("Erf", graph.op("Div", x, scalar(graph, math.sqrt(2))))
    return graph.op("Mul", graph.op("Mul", x, graph.op("Add", normal, scalar(graph, 1))), scalar(graph, 0.5))


def single(op_type: str, **attributes: float) -> Callable[[FloatGraph, str], str]:
    return lambda graph, x: graph.op(op_type, x, **attributes)


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


CLOSED_FORMS = {
    "silu": (silu, lambda z: z * sigmoid(z)),
    "hard swish in five": (hard_swish_old, lambda z: z * np.clip(z + 3, 0, 6) / 6),
    "hard swish in two": (hard_swish, lambda z: z * np.clip(z + 3, 0, 6) / 6),
    "hard swish": (single("HardSwish"), lambda z: z * np.clip(z + 3, 0, 6) / 6),
    "gelu": (gelu, lambda z: z * 0.5 * (1 + np.vectorize(math.erf)(z / math.sqrt(2)))),
    "sigmoid": (single("Sigmoid"), sigmoid),
    "tanh": (single("Tanh"), np.tanh),
    "leaky relu": (single("LeakyRelu", alpha=0.1), lambda z: np.where(z > 0, z, 0.1 * z)),
    "elu": (single("Elu"), lambda z: np.where(z > 0, z, np.expm1(z))),
}


def found_behind(write: Callable[[FloatGraph, str], str]) -> Clipping | Piece | None:
    """What is found behind a convolution."""
    graph = FloatGraph()
    y = graph.conv(graph.input("x", 3, 4, 4), 3, 5)
    graph.output(write(graph, y))
    model = graph.model()
    return activation_behind(GraphIndex(model), y, model)


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_pieces_are_the_closed_form_and_its_slope(name: str) -> None:
    write, closed_form = CLOSED_FORMS[name]
    piece = found_behind(write)
    assert isinstance(piece, Piece)
    function = piece.over(-40.0, 25.0)
    assert isinstance(function, Tabulated)
    z = np.linspace(-60, 40, 20011, dtype=np.float32)  # beyond both ends too
    value, slope = function.value_and_slope(z)
    wanted = closed_form(z.astype(np.float64))
    np.testing.assert_allclose(value, wanted, atol=2e-4 * np.ptp(wanted), rtol=1e-5)
    h = 1e-3
    true_slope = (closed_form(z + h) - closed_form(z - h)) / (2 * h)
    away = np.abs(slope - true_slope)
    assert away.mean() < 2e-3 and np.mean(away > 0.02) < 2e-3  # but for the steps where the slope jumps
    np.testing.assert_array_equal(function.value(z), value)


@pytest.mark.parametrize(
    "write",
    [
        lambda g, x: g.op("PRelu", x, g.constant(np.full((5, 1, 1), 0.1, np.float32))),
        lambda g, x: g.op("Mul", x, g.constant(np.full((1, 5, 1, 1), 0.1, np.float32))),
        lambda g, x: g.op("Softmax", x),
        lambda g, x: g.op("Add", g.op("Sigmoid", x), g.op("Transpose", x, perm=[0, 1, 3, 2])),
        lambda g, x: g.op("Add", x, g.op("GlobalAveragePool", x)),
    ],
)
def test_what_is_no_function_of_one_number_is_none(write: Callable[[FloatGraph, str], str]) -> None:
    assert found_behind(write) is None


def test_a_piece_ends_before_the_residual_sum() -> None:
    graph = FloatGraph()
    x = graph.input("x", 3, 4, 4)
    y = graph.conv(x, 3, 3)
    graph.output(graph.op("Relu", graph.op("Add", silu(graph, y), x)))
    model = graph.model()
    piece = activation_behind(GraphIndex(model), y, model)
    assert isinstance(piece, Piece)
    assert [node.op_type for node in piece.model.graph.node] == ["Sigmoid", "Mul"]


def test_where_it_is_not_finite_nothing_is_claimed() -> None:
    piece = found_behind(single("Sqrt"))
    assert isinstance(piece, Piece)
    assert piece.over(-1.0, 4.0) == Clipping()
    assert isinstance(piece.over(1.0, 4.0), Tabulated)
    assert piece.over(2.0, 2.0) == piece.over(1.0, math.inf) == Clipping()


def rows_of(activation: Clipping | Piece, seed: int = 0) -> tuple[RowObjective, np.ndarray]:
    """A layer whose inputs differ from those that its targets were made from, and its rounded weight."""
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((2, 6, 12)).astype(np.float32)
    bias = rng.standard_normal((2, 6)).astype(np.float32)
    objective = RowObjective(weight, bias, activation)
    for _ in range(3):
        inputs = rng.standard_normal((2, 100, 12)).astype(np.float32) - 0.2
        outputs = inputs @ weight.transpose(0, 2, 1) + bias[:, None]
        objective.update(inputs + 0.2 * rng.random(inputs.shape).astype(np.float32), outputs)
    objective.finish(rng)
    return objective, np.round(weight / 0.5).astype(np.float32) * 0.5


@pytest.mark.parametrize("name", ["silu", "sigmoid", "leaky relu"])
def test_gradient_is_the_slope_of_the_error(name: str) -> None:
    from autocompress.passes.reconstruct.adaround import _row_gradient

    piece = found_behind(CLOSED_FORMS[name][0])
    assert isinstance(piece, Piece)
    objective, weight = rows_of(piece)
    bias = objective.bias + np.float32(0.1)
    gradient = _row_gradient(objective, torch.from_numpy(bias), 600)(0, torch.from_numpy(weight)).numpy()
    rng = np.random.default_rng(1)
    for _ in range(3):
        direction = rng.standard_normal(weight.shape).astype(np.float32)
        ahead, behind = (objective.error(weight + sign * 0.005 * direction, bias) for sign in (1, -1))
        np.testing.assert_allclose(np.sum(gradient * direction), (ahead - behind) / 0.01, rtol=0.02, atol=1e-3)


@pytest.mark.parametrize("name", ["silu", "sigmoid", "tanh", "gelu", "leaky relu"])
def test_no_other_bias_is_much_better_than_the_fitted(name: str) -> None:
    write, closed_form = CLOSED_FORMS[name]
    piece = found_behind(write)
    assert isinstance(piece, Piece)
    objective, weight = rows_of(piece)
    products = objective.inputs.astype(np.float64) @ weight.transpose(0, 2, 1)

    def errors(bias: np.ndarray) -> np.ndarray:
        """Per output, with the closed form."""
        return np.mean((closed_form(products + bias[:, None]) - objective.targets) ** 2, axis=1)

    fitted = errors(objective.fitted_bias(weight))
    best = np.min([errors(objective.bias + shift) for shift in np.linspace(-2, 2, 81)], axis=0)
    assert np.all(fitted <= 1.02 * best + 1e-6)
    assert fitted.sum() < 0.95 * errors(objective.bias).sum()


@pytest.mark.parametrize("bounds", [(0.0, math.inf), (0.0, 6.0), (-math.inf, math.inf)])
def test_clipped_layers_get_the_bias_of_two_newton_steps_to_the_bit(bounds: tuple[float, float]) -> None:
    objective, weight = rows_of(Clipping(*bounds))
    bias = objective.bias.astype(np.float64)
    for _ in range(2):
        found = objective.inputs @ weight.transpose(0, 2, 1) + bias[:, None, :].astype(np.float32)
        through = (found > bounds[0]) & (found < bounds[1])
        gradient = np.where(through, objective.targets - found, 0.0).sum(axis=1, dtype=np.float64)
        bias += gradient / np.maximum(through.sum(axis=1), 1.0)
    np.testing.assert_array_equal(objective.fitted_bias(weight), bias.astype(np.float32))
    assert objective.targets.min() >= bounds[0] and objective.targets.max() <= bounds[1]


def outliers(write: Callable[[FloatGraph, str], str]) -> Study:
    """A layer that a tenth of its inputs drives far below 0, where its activation is flat."""
    graph = FloatGraph(seed=2)
    weight = graph.rng.standard_normal((24, 10)) - 0.4
    y = graph.op("Gemm", graph.input("x", 24), graph.constant(weight.astype(np.float32)), graph.random(10))
    graph.output(write(graph, y))
    x = np.random.default_rng(3).standard_normal((240, 24)) * 0.4
    x[::10] += 25.0
    return Study(graph.model(), {"x": x.astype(np.float32)})


@pytest.mark.parametrize("name", ["silu", "gelu"])
@pytest.mark.parametrize("method", ["bias", "gptq", "adaround"])
def test_what_the_activation_makes_nothing_of_does_not_count(name: str, method: str) -> None:
    study = outliers(CLOSED_FORMS[name][0])
    quantize = QuantizeConfig(weight_dtype="int4", activation_dtype="uint16", bias_correction=False)
    tensor = study.model.graph.output[0].name
    found = reconstruct(study, quantize, ReconstructConfig(method=method, iterations=200, batch_rows=128))
    nearest = output_error(study, candidate(study, quantize, ReconstructPayload()), tensor)
    error = output_error(study, candidate(study, quantize, found), tensor)
    assert error < nearest
    np.testing.assert_allclose(found.errors["Gemm_0"].reconstructed, error, rtol=0.02)
    # The bias that leaves no mean error before the activation does harm.
    unit = study.units["Gemm_0"]
    index = GraphIndex(study.builder.prepared)
    quantized = study.builder.quantizer.quantized_weight(unit, quantize)
    change = index.weight(str(unit.weight)) - quantized.values * quantized.scales
    bias = index.weight(str(unit.bias)) + study.feeds["x"].mean(axis=0) @ change
    harmful = ReconstructPayload(biases={unit.name: bias.astype(np.float32)})
    assert output_error(study, candidate(study, quantize, harmful), tensor) > 2 * nearest


def test_the_bias_behind_a_matmul_is_part_of_what_is_judged() -> None:
    """Its layers are Gelu(x W + b), but b stands in a node of its own."""
    graph = FloatGraph(seed=4)
    y = graph.op("MatMul", graph.input("x", 6, 24), graph.random(24, 16))
    graph.output(gelu(graph, graph.op("Add", y, graph.constant(np.linspace(-6, 2, 16, dtype=np.float32)))))
    study = Study(graph.model(), {"x": correlated(np.random.default_rng(0), 32 * 6, 24).reshape(32, 6, 24)})
    quantize = QuantizeConfig(weight_dtype="int4", activation_dtype="uint16")
    found = reconstruct(study, quantize, ReconstructConfig())
    tensor = study.model.graph.output[0].name
    ((unit, error),) = found.errors.items()
    after = output_error(study, candidate(study, quantize, found), tensor)
    np.testing.assert_allclose(error.reconstructed, after, rtol=0.03)
    assert after < 0.4 * output_error(study, candidate(study, quantize, ReconstructPayload()), tensor)
    assert unit not in found.biases


@pytest.mark.parametrize("method", ["adaround", "bias", "gptq"])
@pytest.mark.parametrize("kind", ["conv", "depthwise", "gemm"])
def test_errors_told_are_those_behind_the_activation(kind: str, method: str) -> None:
    study = layer_study(kind, activation="HardSwish")
    quantize = QuantizeConfig(weight_dtype="int4", activation_dtype="uint16", bias_correction=False)
    config = ReconstructConfig(method=method, iterations=100, batch_rows=128)
    found = reconstruct(study, quantize, config)
    tensor = study.model.graph.output[0].name
    ((_, error),) = found.errors.items()
    after = output_error(study, candidate(study, quantize, found), tensor)
    np.testing.assert_allclose(error.reconstructed, after, rtol=0.03)
    before = output_error(study, candidate(study, quantize, ReconstructPayload()), tensor)
    assert after < before
    few = reconstruct(study, quantize, replace(config, max_rows=40))
    assert few.errors.keys() == found.errors.keys()
