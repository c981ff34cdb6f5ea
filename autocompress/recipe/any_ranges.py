"""Ranges that were never measured, for candidates that are timed or looked at, not judged."""

from __future__ import annotations

from autocompress.passes.quantize import QuantizePayload
from autocompress.recipe.builder import CandidateBuilder

# Latency does not depend on ranges, so any will do.
_ANY_RANGE = (-4.0, 4.0)
_NONNEGATIVE_RANGE = (0.0, 4.0)


def any_ranges(builder: CandidateBuilder) -> QuantizePayload:
    """A range for every tensor: good for candidates that are timed, not judged."""
    # A fused activation is absorbed only where the range begins at zero.
    fused = {u.output: _NONNEGATIVE_RANGE for u in builder.quantizer.units if len(u.nodes) > 1}
    return QuantizePayload(ranges={**dict.fromkeys(builder.quantizer.tensors, _ANY_RANGE), **fused})
