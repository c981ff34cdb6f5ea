"""Absorbing a multiplication before a layer: W (s x) = (W s) x, with s one number or one per input channel.

Padding is no obstacle: s times a padded zero is zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from onnx import ModelProto, NodeProto

from autocompress.graph.index import attribute
from autocompress.graph.specs import Size
from autocompress.graph.walk import is_standard
from autocompress.passes.equalize.layers import scale_inputs
from autocompress.passes.equalize.network import input_channels
from autocompress.passes.fold.affine import FLOATS, affine_of
from autocompress.passes.fold.stored_weights import StoredWeights

_LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm"})


def absorb_before_layers(model: ModelProto, sizes: Mapping[str, Sequence[Size]]) -> int:
    """Absorbs every Mul and Div by constants whose result only a layer reads, in place.

    The removed nodes stay until dead nodes are dropped.

    Args:
        model: changed in place.
        sizes: tensor name -> sizes, as far as known.

    Returns:
        How many layers changed.
    """
    stored = StoredWeights(model)
    return sum(_absorb(node, stored, sizes) for node in model.graph.node if node.op_type in _LAYERS)


def _absorb(layer: NodeProto, stored: StoredWeights, sizes: Mapping[str, Sequence[Size]]) -> bool:
    index = stored.index
    scaling = index.producers.get(layer.input[0])
    weight = index.initializers.get(layer.input[1])
    if scaling is None or weight is None or weight.data_type not in FLOATS or 0 in weight.dims:
        return False
    if not is_standard(layer.domain) or scaling.op_type not in ("Mul", "Div") or attribute(layer, "transA", 0):
        return False
    if index.sole_consumer(layer.input[0]) is None or list(layer.input).count(layer.input[0]) != 1:
        return False
    channels = int(weight.dims[0]) if layer.op_type == "ConvTranspose" else input_channels(layer, weight)
    source = scaling.input[1 if index.is_constant(scaling.input[0]) else 0]
    given = sizes.get(source)
    if given is None or len(given) != len(weight.dims) or given[1] != channels:
        return False  # the multiplication may widen its input
    affine = affine_of(scaling, source, index.initializers, channels, len(weight.dims))
    if affine is None or not affine.is_finite:
        return False
    values = np.ascontiguousarray(stored.values(layer.input[1]))
    scale_inputs(layer, values, affine.scale)
    arrays = stored.as_type_of(layer.input[1], values)
    if arrays is None:
        return False
    layer.input[1] = stored.put(stored.own_name(layer.input[1]), arrays[0])
    layer.input[0] = source
    return True
