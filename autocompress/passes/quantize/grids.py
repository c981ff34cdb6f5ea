"""The grids of activations: scale and zero point of each tensor, from its range."""

from __future__ import annotations

from collections.abc import Mapping

from autocompress.calibration.scheme import Scheme, quantization_parameters
from autocompress.passes.quantize.config import QuantizeConfig


class ActivationGrids:
    """Scale and zero point of tensors, computed once for each.

    Attributes:
        scheme: integer type and symmetry of all activations.
    """

    def __init__(self, config: QuantizeConfig, ranges: Mapping[str, tuple[float, float]]) -> None:
        self.scheme = Scheme(
            dtype=config.activation_dtype, symmetric=config.activation_symmetric, granularity="per_tensor"
        )
        self._ranges = ranges
        self._known: dict[str, tuple[float, int]] = {}

    def of(self, tensor: str) -> tuple[float, int]:
        """Scale (a float32 number) and zero point of a tensor with a range."""
        if tensor not in self._known:
            scale, zero_point = quantization_parameters(*self._ranges[tensor], self.scheme)
            self._known[tensor] = float(scale), zero_point
        return self._known[tensor]
