"""Writes zeros into a model."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, numpy_helper

from autocompress.errors import RecipeError
from autocompress.graph.index import GraphIndex
from autocompress.graph.model import copy_model
from autocompress.passes.sparsify.config import SparsifyConfig
from autocompress.passes.sparsify.layers import sparsifiable_layers
from autocompress.passes.sparsify.payload import SparsifyPayload


def sparsify(model: ModelProto, config: SparsifyConfig, payload: SparsifyPayload) -> ModelProto:
    """A copy whose masked weights are zero; the same input gives the same bytes.

    Names, shapes and types stay.

    Args:
        model: the one that ``resolve`` got; not changed.
        config: that ``resolve`` got.
        payload: that ``resolve`` gave.

    Raises:
        RecipeError: the payload does not fit the model or the configuration.
    """
    layers, _ = sparsifiable_layers(model)
    asked = {name for name, _ in config.layers}
    result = copy_model(model)
    index = GraphIndex(result)
    for name, mask in payload.masks.items():
        if name not in layers or name not in asked or mask.shape != layers[name].values.shape:
            raise RecipeError(f"sparsify step: the mask of {name!r} fits no layer of the model; resolve it again")
        stored = index.initializers[layers[name].weight]
        old = numpy_helper.to_array(stored)
        new = payload.weights.get(name, old)
        if new.shape != old.shape:
            raise RecipeError(f"sparsify step: the weight of {name!r} has another shape than the layer's")
        zeroed = np.where(mask, new, np.zeros((), old.dtype)).astype(old.dtype)
        stored.CopyFrom(numpy_helper.from_array(zeroed, stored.name))
    return result
