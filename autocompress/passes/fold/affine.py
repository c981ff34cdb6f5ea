"""Per-channel affine maps y = scale * x + shift, as one node after a layer applies them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, TensorProto, numpy_helper

from autocompress.graph.index import attribute
from autocompress.graph.walk import is_standard

Weights = Mapping[str, TensorProto]
FloatArray = npt.NDArray[np.float64]

FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE})


@dataclass(frozen=True)
class Affine:
    """y = scale * x + shift along dimension 1.

    Attributes:
        scale: of shape (channels,).
        shift: of shape (channels,).
    """

    scale: FloatArray
    shift: FloatArray

    @property
    def is_finite(self) -> bool:
        """Whether every number is finite."""
        return bool(np.isfinite(self.scale).all() and np.isfinite(self.shift).all())


def affine_of(node: NodeProto, operand: str, weights: Weights, channels: int, rank: int) -> Affine | None:
    """The map that a node applies to one of its operands, or None where it is no per-channel map by constants.

    Args:
        node: the only reader of ``operand``.
        operand: a tensor of ``rank`` dimensions with ``channels`` in dimension 1.
        weights: initializers by name.
        channels: size of dimension 1.
        rank: number of dimensions.
    """
    if not is_standard(node.domain):
        return None
    if node.op_type == "BatchNormalization":
        return _normalization(node, operand, weights, channels)
    rule = _ARITHMETIC.get(node.op_type)
    if rule is None or len(node.input) != 2:
        return None
    first = node.input[0] == operand
    constant = _per_channel(node.input[1 if first else 0], weights, channels, rank)
    return None if constant is None else rule(constant, first)


def _normalization(node: NodeProto, operand: str, weights: Weights, channels: int) -> Affine | None:
    """Gamma (x - mean) / sqrt(variance + epsilon) + beta, with stored statistics (inference form)."""
    extra_outputs = any(node.output[1:])
    if node.input[0] != operand or extra_outputs or attribute(node, "training_mode", 0):
        return None
    stored = [_vector(name, weights, channels) for name in node.input[1:5]]
    gamma, beta, mean, variance = stored
    if gamma is None or beta is None or mean is None or variance is None:
        return None
    epsilon = attribute(node, "epsilon", 1e-5)
    assert isinstance(epsilon, float)
    with np.errstate(all="ignore"):
        scale = gamma / np.sqrt(variance + epsilon)
        return Affine(scale, beta - mean * scale)


def _vector(name: str, weights: Weights, channels: int) -> FloatArray | None:
    values = _floats(name, weights)
    return values if values is not None and values.shape == (channels,) else None


def _per_channel(name: str, weights: Weights, channels: int, rank: int) -> FloatArray | None:
    """A constant operand as a vector over channels, if broadcasting it widens nothing."""
    values = _floats(name, weights)
    if values is None or values.ndim > rank:
        return None
    shape = (1,) * (rank - values.ndim) + values.shape
    if any(size != 1 for axis, size in enumerate(shape) if axis != 1) or shape[1] not in (1, channels):
        return None
    return np.broadcast_to(values.reshape(-1), (channels,))


def _floats(name: str, weights: Weights) -> FloatArray | None:
    if name not in weights or weights[name].data_type not in FLOATS:
        return None
    values: FloatArray = numpy_helper.to_array(weights[name]).astype(np.float64)
    return values


def _scaled(constant: FloatArray, _first: bool) -> Affine:
    return Affine(constant, np.zeros_like(constant))


def _shifted(constant: FloatArray, _first: bool) -> Affine:
    return Affine(np.ones_like(constant), constant)


def _subtracted(constant: FloatArray, first: bool) -> Affine:
    ones = np.ones_like(constant)
    return Affine(ones, -constant) if first else Affine(-ones, constant)


def _divided(constant: FloatArray, first: bool) -> Affine | None:
    if not first:
        return None
    with np.errstate(all="ignore"):
        return Affine(1.0 / constant, np.zeros_like(constant))


_ARITHMETIC: dict[str, Callable[[FloatArray, bool], Affine | None]] = {
    "Mul": _scaled,
    "Add": _shifted,
    "Sub": _subtracted,
    "Div": _divided,
}
