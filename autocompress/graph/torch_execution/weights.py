"""Other values for the weights of a model, under their own names; needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, TensorProto, numpy_helper

from autocompress.errors import ModelError
from autocompress.graph.model import copy_model

Array = npt.NDArray[Any]


def is_float(array: Array) -> bool:
    """Whether an array holds real numbers (bfloat16 and the like included)."""
    return array.dtype.kind == "f" or array.dtype.name.startswith(("bfloat", "float"))


def with_weights(model: ModelProto, arrays: Mapping[str, Array]) -> ModelProto:
    """A copy of ``model`` with other values for some weights; everything else keeps its bytes.

    Args:
        model: any model; not changed.
        arrays: weight name -> values of the same shape; they are rounded to the type of the weight.

    Raises:
        ModelError: the model lacks a weight, or has it in another shape.
    """
    result = copy_model(model)
    stored = {tensor.name: tensor for tensor in result.graph.initializer}
    for name, array in arrays.items():
        if name not in stored:
            raise ModelError(f"the model has no weight {name!r}; give the model that the values were made for")
        _store(stored[name], array)
    return result


def _store(tensor: TensorProto, array: Array) -> None:
    old = numpy_helper.to_array(tensor)
    if old.shape != array.shape:
        raise ModelError(
            f"weight {tensor.name!r} has shape {list(old.shape)}, the values for it {list(array.shape)}; "
            "give the model that the values were made for"
        )
    if not is_float(old):
        array = np.rint(array)
    tensor.CopyFrom(numpy_helper.from_array(np.array(array, dtype=old.dtype, order="C"), tensor.name))
