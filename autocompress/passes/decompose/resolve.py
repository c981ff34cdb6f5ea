"""Finds the factors that a configuration asks for."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from onnx import ModelProto, helper

from autocompress.errors import RecipeError
from autocompress.graph.index import GraphIndex
from autocompress.passes.decompose.config import DecomposeConfig, ranks_of
from autocompress.passes.decompose.grams import stream_grams
from autocompress.passes.decompose.layers import DoubleArray, Layer, decomposable_layers, kernel_of
from autocompress.passes.decompose.methods import METHODS, why_not
from autocompress.passes.decompose.patches import Batches, Load
from autocompress.passes.decompose.payload import DecomposePayload, FloatArray


def resolve(
    model: ModelProto, config: DecomposeConfig, batches: Batches | None = None, load: Load | None = None
) -> DecomposePayload:
    """Factors of every layer that can be decomposed as asked and saves multiply-adds so.

    Args:
        model: normalized and folded.
        config: what to do.
        batches: starts a pass over unlabelled samples; needed where ``config.whitened``.
        load: loads a model to run; ONNX Runtime with one thread unless given.

    Returns:
        The factors, and why other layers of the configuration are left alone.

    Raises:
        RecipeError: a layer does not exist, a rank is above its full rank, or samples are needed and missing.
        DataError: the samples are empty or give NaN.
    """
    layers, _ = decomposable_layers(model)
    left_alone = _left_alone(model, config)
    chosen = {name: (method, ranks_of(rank)) for name, method, rank in config.layers if name not in left_alone}
    if config.whitened and chosen and batches is None:
        raise RecipeError("decompose step: whitened factors need samples; give --data, or choose whitened: false")
    index = GraphIndex(model)
    grams: Iterable[tuple[str, DoubleArray | None]] = ((name, None) for name in chosen)
    if config.whitened and batches is not None:
        grams = stream_grams(model, [layers[name] for name in chosen], batches, load)
    factors = {name: factors_of(layers[name], index, *chosen[name], gram) for name, gram in grams}
    return DecomposePayload(factors, left_alone)


def _left_alone(model: ModelProto, config: DecomposeConfig) -> dict[str, str]:
    layers, unfit = decomposable_layers(model)
    reasons: dict[str, str] = {}
    for name, method, rank in config.layers:
        if name not in layers and name not in unfit:
            raise RecipeError(f"decompose step: the model has no layer {name!r}; name nodes of this very model")
        if name in unfit:
            reasons[name] = unfit[name]
            continue
        ranks = ranks_of(rank)
        _check_full(layers[name], method, ranks)
        reason = why_not(layers[name], method, ranks)
        if reason:
            reasons[name] = reason
    return reasons


def _check_full(layer: Layer, method: str, ranks: tuple[int, ...]) -> None:
    if METHODS[method].unfit(layer):
        return
    full = METHODS[method].full_ranks(layer)
    if any(rank > limit for rank, limit in zip(ranks, full, strict=True)):
        given, most = ("x".join(map(str, numbers)) for numbers in (ranks, full))
        raise RecipeError(f"decompose step: rank {given} of layer {layer.name!r} must be at most its full rank, {most}")


def factors_of(
    layer: Layer, index: GraphIndex, method: str, ranks: tuple[int, ...], gram: DoubleArray | None
) -> tuple[FloatArray, ...]:
    """Kernels of the parts of one layer, in the type of its weight.

    Args:
        layer: to decompose.
        index: of its graph.
        method: one of ``METHODS``.
        ranks: at most the full ones.
        gram: second moment of the layer's patches, or None for the factors closest to the weights.
    """
    dtype = helper.tensor_dtype_to_np_dtype(index.initializers[layer.weight].data_type)
    parts = METHODS[method].factorize(kernel_of(layer, index), ranks, gram)
    return tuple(np.ascontiguousarray(part, dtype=dtype) for part in parts)
