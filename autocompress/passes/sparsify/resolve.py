"""Chooses the weights that become zero."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, helper

from autocompress.errors import RecipeError
from autocompress.graph.index import GraphIndex
from autocompress.passes.decompose.grams import stream_grams
from autocompress.passes.decompose.layers import Layer, decomposable_layers
from autocompress.passes.decompose.patches import Batches, Load
from autocompress.passes.equalize.layers import canonical
from autocompress.passes.sparsify.choosing import masks_by_score, obstacle, scores_of
from autocompress.passes.sparsify.config import MAGNITUDE, SPARSEGPT, WANDA, SparsifyConfig
from autocompress.passes.sparsify.layers import SparseLayer, sparsifiable_layers
from autocompress.passes.sparsify.masks import DoubleArray, Mask
from autocompress.passes.sparsify.norms import input_norms
from autocompress.passes.sparsify.pattern import Pattern, parse
from autocompress.passes.sparsify.payload import SparsifyPayload
from autocompress.passes.sparsify.sparsegpt import prune


def resolve(
    model: ModelProto,
    config: SparsifyConfig,
    batches: Batches | None = None,
    load: Load | None = None,
    norms: Mapping[str, DoubleArray] | None = None,
) -> SparsifyPayload:
    """Masks, and new weights where the criterion makes them, of every layer that can become sparse as asked.

    Args:
        model: normalized and folded.
        config: what to do.
        batches: starts a pass over unlabelled samples; needed unless the criterion is "magnitude".
        load: loads a model to run; ONNX Runtime with one thread unless given.
        norms: what ``input_norms`` gave for these layers, where somebody asked before.

    Raises:
        RecipeError: a layer does not exist, or samples are needed and missing.
        DataError: the samples are empty or give NaN.
    """
    layers, unfit = sparsifiable_layers(model)
    grammable, ungrammable = decomposable_layers(model)
    patterns: dict[str, Pattern] = {}
    left_alone: dict[str, str] = {}
    for name, text in config.layers:
        if name not in layers and name not in unfit:
            raise RecipeError(f"sparsify step: the model has no layer {name!r}; name nodes of this very model")
        pattern = parse(text)
        reason = unfit.get(name) or obstacle(layers[name], pattern)
        if not reason and config.criterion == SPARSEGPT:
            reason = ungrammable.get(name, "")
        if reason:
            left_alone[name] = reason
        else:
            patterns[name] = pattern
    chosen = {name: layers[name] for name in patterns}
    if config.criterion != MAGNITUDE and chosen and batches is None:
        raise RecipeError(f"sparsify step: the criterion {config.criterion!r} needs samples; give --data")
    if config.criterion == SPARSEGPT and batches is not None and chosen:
        masks, weights = _updated(model, chosen, patterns, {name: grammable[name] for name in chosen}, batches, load)
        return SparsifyPayload(masks, weights, left_alone)
    known: Mapping[str, DoubleArray] = {}
    if config.criterion == WANDA and batches is not None and chosen:
        known = norms if norms is not None else input_norms(model, chosen, batches, load)
    views = masks_by_score(scores_of(chosen, known), patterns, config)
    return SparsifyPayload({name: _as_stored(layers[name], view) for name, view in views.items()}, {}, left_alone)


def _updated(
    model: ModelProto,
    chosen: Mapping[str, SparseLayer],
    patterns: Mapping[str, Pattern],
    read: Mapping[str, Layer],
    batches: Batches,
    load: Load | None,
) -> tuple[dict[str, Mask], dict[str, npt.NDArray[np.floating]]]:
    """Masks and weights by SparseGPT."""
    index = GraphIndex(model)
    masks: dict[str, Mask] = {}
    weights: dict[str, npt.NDArray[np.floating]] = {}
    for name, gram in stream_grams(model, list(read.values()), batches, load):
        layer = chosen[name]
        values, kept = prune(layer.view[0], gram, patterns[name])
        masks[name] = _as_stored(layer, kept[None])
        new = np.empty_like(layer.values)
        canonical(layer.node, new)[...] = values[None]
        dtype = helper.tensor_dtype_to_np_dtype(index.initializers[layer.weight].data_type)
        weights[name] = np.where(masks[name], new, 0.0).astype(dtype)
    return masks, weights


def _as_stored(layer: SparseLayer, view: Mask) -> Mask:
    """A mask in the shape of the stored weight."""
    stored = np.empty(layer.values.shape)
    canonical(layer.node, stored)[...] = view
    return stored.astype(np.bool_)
