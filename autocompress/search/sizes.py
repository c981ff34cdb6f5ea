"""What regions take in a file, in each precision: read off the files of probes, shared out by number of weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import onnx

from autocompress.passes.quantize import FP32
from autocompress.search.prices import OPTIONS
from autocompress.search.regions import Region

if TYPE_CHECKING:
    from autocompress.search.probes import Probe

FloatArray = npt.NDArray[np.float64]
_FLOAT_BYTES = 4.0


def fit_sizes(
    model: onnx.ModelProto, regions: Sequence[Region], probes: Mapping[str, Probe]
) -> tuple[FloatArray | None, float]:
    """Bytes of each region's weights in each precision, and of the rest of the file.

    A probe in which all regions that can have a precision have it is smaller than the float one by what their weights
    save together; each saves in proportion to its number of weights.

    Args:
        model: the prepared model.
        regions: its regions.
        probes: precision -> whole-model candidate, "fp32" among them.

    Returns:
        An array of shape (regions, options), inf where nothing is known, and a number; (None, 0) where the probes
        have no sizes.
    """
    if not probes[FP32].size_bytes:
        return None, 0.0
    counts = _weights(model, regions)
    sizes = np.full((len(regions), len(OPTIONS)), np.inf)
    sizes[:, OPTIONS.index(FP32)] = counts * _FLOAT_BYTES
    for name, probe in probes.items():
        if name == FP32 or name not in OPTIONS:
            continue
        option = OPTIONS.index(name)
        chosen = np.array(probe.options) == option
        saved = probes[FP32].size_bytes - probe.size_bytes
        per_weight = _FLOAT_BYTES - saved / max(float(counts[chosen].sum()), 1.0)
        sizes[chosen, option] = counts[chosen] * per_weight
    return sizes, float(probes[FP32].size_bytes - sizes[:, OPTIONS.index(FP32)].sum())


def _weights(model: onnx.ModelProto, regions: Sequence[Region]) -> FloatArray:
    """Number of weights of each region; one that several read counts for the first."""
    elements = {weight.name: int(np.prod(weight.dims, dtype=np.int64)) for weight in model.graph.initializer}
    counted: set[str] = set()
    found = np.zeros(len(regions))
    for i, region in enumerate(regions):
        for unit in region.units:
            if unit.weight is not None and unit.weight not in counted:
                counted.add(unit.weight)
                found[i] += elements.get(unit.weight, 0)
    return found
