"""Inputs to time a model with when no samples are given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from autocompress.errors import ConfigError
from autocompress.graph.model import input_specs
from autocompress.graph.shapes import bind

Array = npt.NDArray[Any]


def bound_model(model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]], batch_size: int) -> onnx.ModelProto:
    """The model with every size a number.

    Raises:
        ModelError: telling which ``--shape`` to give.
    """
    return bind(model, shapes, batch=batch_size)


def random_feeds(bound: onnx.ModelProto, seed: int = 0) -> dict[str, Array]:
    """Seeded inputs for a model whose sizes are all numbers: normal floats, ones for masks, small whole numbers.

    Raises:
        ConfigError: when they do not fit into memory.
    """
    generator = np.random.default_rng(seed)
    try:
        return {
            spec.name: _values(generator, np.dtype(spec.dtype), tuple(int(s) for s in spec.shape))  # type: ignore[arg-type]
            for spec in input_specs(bound)
        }
    except MemoryError as error:
        raise ConfigError(f"inputs of these sizes do not fit into memory ({error}); give smaller ones") from error


def _values(generator: np.random.Generator, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    if dtype.kind == "f":
        return generator.standard_normal(shape).astype(dtype)
    if dtype.kind == "b":
        return np.ones(shape, dtype)
    # 0 and 1 are valid as token ids, masks, segment ids and indices alike.
    return generator.integers(0, 2, shape).astype(dtype)
