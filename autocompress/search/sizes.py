"""What regions take of a model's size, in each precision: read off whole candidates, shared out by their weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import onnx

from autocompress.graph.tensors import raw_bytes
from autocompress.graph.transfer_size import deflated_bytes
from autocompress.passes.quantize import FP32
from autocompress.search.counted_size import FILE
from autocompress.search.prices import OPTIONS
from autocompress.search.regions import Region

if TYPE_CHECKING:
    from autocompress.search.probes import Probe

FloatArray = npt.NDArray[np.float64]


def fit_sizes(
    model: onnx.ModelProto, regions: Sequence[Region], probes: Mapping[str, Probe], size_as: str = FILE
) -> tuple[FloatArray | None, float]:
    """Bytes of each region's weights in each precision, and of the rest of the model.

    A probe in which all regions that can have a precision have it is smaller than the float one by what their weights
    save together; each saves in proportion to what its float weights take.  Where the compressed size counts, that is
    their compressed size, so that a layer with many zeros has little left to save.

    Args:
        model: the prepared model.
        regions: its regions.
        probes: precision -> whole-model candidate, "fp32" among them.
        size_as: which size that of the probes is: "file" or "deflate".

    Returns:
        An array of shape (regions, options), inf where nothing is known, and a number; (None, 0) where the probes
        have no sizes.
    """
    if not probes[FP32].size_bytes:
        return None, 0.0
    full = _float_bytes(model, regions, size_as)
    sizes = np.full((len(regions), len(OPTIONS)), np.inf)
    sizes[:, OPTIONS.index(FP32)] = full
    for name, probe in probes.items():
        if name == FP32 or name not in OPTIONS:
            continue
        option = OPTIONS.index(name)
        chosen = np.array(probe.options) == option
        saved = probes[FP32].size_bytes - probe.size_bytes
        sizes[chosen, option] = full[chosen] * (1.0 - saved / max(float(full[chosen].sum()), 1.0))
    return sizes, float(probes[FP32].size_bytes - full.sum())


def _float_bytes(model: onnx.ModelProto, regions: Sequence[Region], size_as: str) -> FloatArray:
    """What the weights of each region take; one that several read counts for the first."""
    weights = {weight.name: weight for weight in model.graph.initializer}
    found = np.zeros(len(regions))
    for i, region in enumerate(regions):
        for unit in region.units:
            weight = weights.pop(unit.weight, None) if unit.weight is not None else None
            if weight is not None:
                content = raw_bytes(weight)
                found[i] += len(content) if size_as == FILE else deflated_bytes(content)
    return found
