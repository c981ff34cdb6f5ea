"""Changing the weights of a graph under their own names, unless something else reads them too."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, TensorProto, helper, numpy_helper

from autocompress.graph.index import GraphIndex
from autocompress.graph.rewrite import free_name, tensor_names
from autocompress.passes.fold.affine import FloatArray


class StoredWeights:
    """The weights of a graph that is being rewritten in place.

    Attributes:
        index: producers, readers and weights by name, as the graph was at first.
    """

    def __init__(self, model: ModelProto) -> None:
        self.index = GraphIndex(model)
        self._graph = model.graph
        self._weights = self.index.initializers
        self._names = tensor_names(model)

    def values(self, name: str) -> FloatArray:
        """A weight as float64."""
        values: FloatArray = numpy_helper.to_array(self._weights[name]).astype(np.float64)
        return values

    def as_type_of(self, name: str, *arrays: FloatArray) -> list[npt.NDArray[np.generic]] | None:
        """Arrays in the type of a weight; None where a number would become infinite."""
        dtype = helper.tensor_dtype_to_np_dtype(self._weights[name].data_type)
        with np.errstate(over="ignore"):
            stored = [array.astype(dtype) for array in arrays]
        finite = all(np.isfinite(array.astype(np.float64)).all() for array in stored)
        return list(stored) if finite else None

    def own_name(self, name: str) -> str:
        """The name itself if only one node reads it once, else a new one for a copy."""
        readers = self.index.consumers.get(name, [])
        read_once = len(readers) == 1 and list(readers[0].input).count(name) == 1
        shared = not read_once or name in self.index.outputs
        return self.new_name(f"{name}_folded") if shared else name

    def new_name(self, wanted: str) -> str:
        """A tensor name that nobody uses, now taken."""
        name = free_name(wanted, self._names)
        self._names.add(name)
        return name

    def put(self, name: str, values: npt.NDArray[np.generic]) -> str:
        """Stores values under a name that one node reads; returns the name."""
        tensor: TensorProto = numpy_helper.from_array(np.ascontiguousarray(values).reshape(values.shape), name)
        if name in self._weights:
            self._weights[name].CopyFrom(tensor)
            return name
        stored = self._graph.initializer.add()
        stored.CopyFrom(tensor)
        self._weights[name] = stored
        # A copy made for one layer is that layer's own if it absorbs more.
        self.index.consumers[name] = [helper.make_node("Reader", [name], [])]
        return name
