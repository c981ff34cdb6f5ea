"""Applies shifts per channel to a model (see ``shift_paths``)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from onnx import ModelProto

from autocompress.errors import RecipeError
from autocompress.passes.equalize.elementwise import constant_layout
from autocompress.passes.equalize.layers import canonical
from autocompress.passes.equalize.layout import IdArray
from autocompress.passes.equalize.network import DoubleArray, Network, NotScalable
from autocompress.passes.equalize.producers import own_layout
from autocompress.passes.equalize.scaling import WeightEditor
from autocompress.passes.equalize.shift_paths import ShiftedReader, ShiftPath, find_shift_path


def shifted(model: ModelProto, shifts: Mapping[str, npt.NDArray[np.float64]]) -> ModelProto:
    """A copy in which ``shifts`` are subtracted from the named tensors and given back by the layers behind.

    Args:
        model: normalized.
        shifts: anchor of a shift path -> finite numbers of shape (channels,).

    Raises:
        RecipeError: the model has no such path, or the numbers do not fit it.
    """
    network = Network(model)
    editor = WeightEditor(model)
    for anchor, amounts in shifts.items():
        path = path_of(network, anchor)
        values = np.asarray(amounts, np.float64)
        if values.shape != (path.channels,) or not np.isfinite(values).all():
            raise RecipeError(f"the recipe's shifts of {anchor!r} are not {path.channels} finite numbers")
        editor.add(path.bias_node, path.bias_position, -_at_bias(network, path, values))
        for reader in path.readers:
            editor.add(reader.bias_node, reader.bias_position, _given_back(network, reader, values))
    return editor.model()


def path_of(network: Network, anchor: str) -> ShiftPath:
    """The shift path that a payload names.

    Raises:
        RecipeError: the model has no such path.
    """
    try:
        return find_shift_path(network, anchor)
    except NotScalable as reason:
        raise RecipeError(f"the recipe shifts {anchor!r}, which this model does not allow: {reason}") from reason


def _at_bias(network: Network, path: ShiftPath, amounts: DoubleArray) -> DoubleArray:
    """The amounts in the shape of the vector that they come off."""
    node = network.node(path.bias_node)
    name = node.input[path.bias_position] if path.bias_position < len(node.input) else ""
    if not name or node.op_type not in ("Add", "Gemm"):
        return amounts
    return spread_shifts(amounts, constant_layout(name, own_layout(node, network), network).ids)


def _given_back(network: Network, reader: ShiftedReader, amounts: DoubleArray) -> DoubleArray:
    """What the layer's output lacks per channel when its input lacks ``amounts``: W c, of shape (O,)."""
    node = network.node(reader.node)
    weight = canonical(node, np.ascontiguousarray(network.index.weight(node.input[1]), np.float64))
    own = spread_shifts(amounts, reader.ids).reshape(weight.shape[0], weight.shape[2])
    lacking: DoubleArray = np.einsum("goik,gi->go", weight, own)
    return lacking.reshape(-1)


def spread_shifts(amounts: DoubleArray, ids: IdArray) -> DoubleArray:
    """The shift of each element: 0 where it belongs to no channel."""
    return np.append(amounts, 0.0)[ids]
