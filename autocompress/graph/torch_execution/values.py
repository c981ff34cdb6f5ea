"""Arrays of a model as torch tensors and back."""

from __future__ import annotations

import numpy as np
import torch

from autocompress.graph.torch_execution.call import Tensor
from autocompress.graph.torch_execution.weights import Array, is_float

_WIDER = {"uint16": np.int32, "uint32": np.int64, "uint64": np.int64, "int4": np.int8, "uint4": np.uint8}


def as_tensor(array: Array | Tensor, dtype: torch.dtype) -> Tensor:
    """A tensor of its own with the values of an array.

    Args:
        array: numbers; float64 keeps its type, narrower floats take ``dtype``, unsigned integers that torch hardly
            computes with take a wider signed type.
        dtype: torch type of computation for floats.
    """
    if isinstance(array, torch.Tensor):
        return array.to(dtype) if array.is_floating_point() and array.dtype != torch.float64 else array
    if array.dtype.name in _WIDER:
        array = array.astype(_WIDER[array.dtype.name])
    if not is_float(array):
        return torch.from_numpy(np.array(array, order="C"))
    wide = array if array.dtype == np.float64 else array.astype(np.float32)
    tensor = torch.from_numpy(np.array(wide, order="C"))
    return tensor if array.dtype == np.float64 else tensor.to(dtype)


def as_array(tensor: Tensor) -> Array:
    """The values of a tensor as a numpy array of its own."""
    array: Array = tensor.detach().cpu().numpy().copy()
    return array
