"""Makes an equalized model from what a pass found, without data."""

from __future__ import annotations

from onnx import ModelProto

from autocompress.passes.equalize.clips import without_bounds
from autocompress.passes.equalize.equalized import EqualizePayload
from autocompress.passes.equalize.insertion import with_multiplications
from autocompress.passes.equalize.scaling import scaled
from autocompress.passes.equalize.shifting import shifted


def apply_scales(model: ModelProto, payload: EqualizePayload) -> ModelProto:
    """A copy of ``model`` with the payload's changes; the same input gives the same bytes.

    Args:
        model: normalized and folded, as the pass that found the payload got it.
        payload: of that pass.

    Raises:
        RecipeError: the payload does not fit the model.
    """
    if payload.unbounded:
        model = without_bounds(model, payload.unbounded)
    if payload.scales or not (payload.inserted or payload.shifts):
        model = scaled(model, payload.scales)
    if payload.inserted:
        model = with_multiplications(model, payload.inserted)
    return shifted(model, payload.shifts) if payload.shifts else model
