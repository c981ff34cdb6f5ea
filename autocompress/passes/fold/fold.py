"""The folding pass: every rewrite of this package, repeated until none applies."""

from __future__ import annotations

from onnx import ModelProto

from autocompress.graph.constants import fold_known
from autocompress.graph.inference import declared_shapes, element_types, infer_shapes, static_shapes
from autocompress.graph.model import copy_model
from autocompress.graph.rewrite import bypass, drop_dead
from autocompress.passes.fold.layers import absorb_affine
from autocompress.passes.fold.layout import is_no_op, merge_reshapes, merge_transposes
from autocompress.passes.fold.padding import absorb_padding


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


def _fold_once(model: ModelProto) -> bool:
    before = len(model.graph.node)
    inferred = infer_shapes(model)
    shapes, types = declared_shapes(inferred), element_types(inferred)
    fold_known(model, shapes, types)
    bypass(model, is_no_op(model, static_shapes(inferred), types))
    merged = merge_reshapes(model) + merge_transposes(model)
    merged += absorb_padding(model) + absorb_affine(model)
    drop_dead(model)
    return merged > 0 or len(model.graph.node) < before
