"""Precisions of the original's units, on the units of a stem."""

from __future__ import annotations

from collections.abc import Sequence

from autocompress.passes.quantize import FP32, QuantizeConfig, Unit

_PARTS = "_decompose_"


def fitted(config: QuantizeConfig, units: Sequence[Unit]) -> QuantizeConfig:
    """A scheme on the units of a stem: each has the precision that it, or the layer it is a part of, had.

    Args:
        config: for the original.
        units: of the stem.
    """
    precisions = {}
    for unit in units:
        wanted = config.precision_of(unit.name.split(_PARTS)[0])
        precisions[unit.name] = wanted if wanted in unit.all_options else FP32
    return config.with_precisions(precisions)
