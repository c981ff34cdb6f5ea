"""The folding pass: every rewrite of this package, repeated until none applies."""

from __future__ import annotations

from collections.abc import Callable

from onnx import ModelProto

from autocompress.graph.constants import fold_known
from autocompress.graph.inference import declared_shapes, element_types, infer_shapes
from autocompress.graph.model import copy_model
from autocompress.graph.rewrite import bypass, drop_dead
from autocompress.passes.fold.branches import merge_branches
from autocompress.passes.fold.consecutive import merge_consecutive
from autocompress.passes.fold.layers import absorb_affine
from autocompress.passes.fold.layout import merge_reshapes, merge_transposes
from autocompress.passes.fold.matrix_products import absorb_after_products
from autocompress.passes.fold.no_ops import is_no_op, put_neutral_second
from autocompress.passes.fold.padding import absorb_padding
from autocompress.passes.fold.quantization_pairs import drop_requantization
from autocompress.passes.fold.scaled_inputs import absorb_before_layers
from autocompress.passes.fold.space_to_depth import absorb_space_to_depth
from autocompress.passes.fold.transposes import join_transposes


def fold(model: ModelProto) -> ModelProto:
    """A copy with fewer operators that computes the same, up to rounding (1e-5 relative for float32).

    Inputs, outputs and their names stay; a layer keeps its node name and, where nobody else reads them, its weights
    keep their names.  The same input gives the same bytes.

    Args:
        model: normalized (see ``graph.normalize``).
    """
    folded = copy_model(model)
    while _fold_once(folded):
        pass
    return folded


_REWRITES: tuple[Callable[[ModelProto], int], ...] = (
    merge_transposes,
    join_transposes,
    absorb_padding,
    absorb_affine,
    absorb_after_products,
    merge_branches,
    merge_consecutive,
)


def _fold_once(model: ModelProto) -> bool:
    before = len(model.graph.node)
    inferred = infer_shapes(model)
    shapes, types = declared_shapes(inferred), element_types(inferred)
    fold_known(model, shapes, types)
    put_neutral_second(model)
    merged = drop_requantization(model, types) + merge_reshapes(model)
    bypass(model, is_no_op(model, shapes, types))
    merged += absorb_before_layers(model, shapes)
    merged += absorb_space_to_depth(model, shapes)
    merged += sum(rewrite(model) for rewrite in _REWRITES)
    drop_dead(model)
    return merged > 0 or len(model.graph.node) < before
