"""A convolution of the phases of an image becomes a strided convolution of the image.

    sum over c, p, q and i, j of  w[k(c, p, q), i, j] x[c, s (m + i) + p, t (n + j) + q]   =   the same with
    W[c, s i + p, t j + q] = w[k(c, p, q), i, j],  a kernel s x t times as large that moves by s x t positions

Numbers of weights and multiply-adds stay; what gathered the phases (see ``polyphase``) is saved.  A phase is padded
with zeros where the image is, s or t times as far.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from onnx import ModelProto, NodeProto

from autocompress.graph.conv_windows import explicit_pads, set_window, window_numbers
from autocompress.graph.index import attribute
from autocompress.graph.specs import Size
from autocompress.graph.walk import is_standard
from autocompress.passes.fold.affine import FLOATS, FloatArray
from autocompress.passes.fold.polyphase import Polyphase, polyphase_of
from autocompress.passes.fold.stored_weights import StoredWeights


def absorb_space_to_depth(model: ModelProto, sizes: Mapping[str, Sequence[Size]]) -> int:
    """Lets every convolution that alone reads the phases of an image read the image, in place.

    The removed nodes stay until dead nodes are dropped.

    Args:
        model: changed in place.
        sizes: tensor name -> sizes, as far as known.

    Returns:
        How many convolutions changed.
    """
    stored = StoredWeights(model)
    return sum(
        _absorb(node, stored, sizes) for node in model.graph.node if node.op_type == "Conv" and is_standard(node.domain)
    )


def _absorb(conv: NodeProto, stored: StoredWeights, sizes: Mapping[str, Sequence[Size]]) -> bool:
    weight = stored.index.initializers.get(conv.input[1])
    if weight is None or weight.data_type not in FLOATS or 0 in weight.dims:
        return False
    axes = len(weight.dims) - 2
    if int(str(attribute(conv, "group", 1))) != 1 or set(window_numbers(conv, "dilations", 1, axes)) != {1}:
        return False
    phases = polyphase_of(conv.input[0], int(weight.dims[1]), axes + 2, stored.index, sizes)
    if phases is None:
        return False
    pads = explicit_pads(conv, weight.dims[2:], sizes.get(conv.input[0], ()))
    arrays = None if pads is None else stored.as_type_of(weight.name, _kernel(stored.values(weight.name), phases))
    if pads is None or arrays is None:
        return False
    conv.input[0] = phases.source
    conv.input[1] = stored.put(stored.own_name(weight.name), arrays[0])
    strides = [a * b for a, b in zip(window_numbers(conv, "strides", 1, axes), phases.blocks, strict=True)]
    pads = [amount * block for amount, block in zip(pads, 2 * phases.blocks, strict=True)]
    set_window(conv, arrays[0].shape[2:], strides, pads)
    return True


def _kernel(weights: FloatArray, phases: Polyphase) -> FloatArray:
    """The weights of the image's channels; those given are of its phases."""
    channels = int(phases.cells[:, 0].max()) + 1
    window = [size * block for size, block in zip(weights.shape[2:], phases.blocks, strict=True)]
    kernel = np.zeros((len(weights), channels, *window))
    for phase, (channel, *starts) in enumerate(phases.cells.tolist()):
        places = (slice(start, None, block) for start, block in zip(starts, phases.blocks, strict=True))
        kernel[(slice(None), channel, *places)] = weights[:, phase]
    return kernel
