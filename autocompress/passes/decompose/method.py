"""What every method of decomposition offers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from autocompress.passes.decompose.layers import DoubleArray, Layer

Attributes = dict[str, Any]


class Method(Protocol):
    """One way to write a layer as a chain of smaller ones.

    Kernels are float64 of shape (outputs, inputs, *kernel).  A ``gram`` is the mean of p p^T over the patches p that a
    layer reads, flattened from (inputs, *kernel), positive definite; None asks for the factors closest to the weights.

    Attributes:
        rank_count: how many ranks it takes.
    """

    @property
    def rank_count(self) -> int:
        """How many ranks it takes."""

    def unfit(self, layer: Layer) -> str:
        """Why it is not for this layer; "" where it is."""

    def full_ranks(self, layer: Layer) -> tuple[int, ...]:
        """Ranks with which the layer is reproduced."""

    def unfit_ranks(self, layer: Layer, ranks: Sequence[int]) -> str:
        """Why these ranks, none above full, make no sense together; "" where they do."""

    def relative_macs(self, layer: Layer, ranks: Sequence[int]) -> float:
        """Multiply-adds of the parts, as a share of the layer's."""

    def spectra(self, kernel: DoubleArray, gram: DoubleArray | None) -> tuple[DoubleArray, ...]:
        """For each rank, the singular values among which it chooses, falling."""

    def factorize(self, kernel: DoubleArray, ranks: Sequence[int], gram: DoubleArray | None) -> tuple[DoubleArray, ...]:
        """Kernels of the parts, first to last, each of shape (outputs, inputs, *kernel)."""

    def attributes(self, given: Attributes, rank: int) -> tuple[Attributes, ...]:
        """Attributes of the parts of a convolution.

        Args:
            given: attributes of the convolution.
            rank: spatial dimensions.
        """
