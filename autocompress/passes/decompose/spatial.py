"""A k x k convolution as k x 1 followed by 1 x k (Jaderberg et al. 2014, arXiv 1405.3866).

With the kernel as a matrix M of shape (I k_h, O k_w), M[(i, y), (o, x)] = W[o, i, y, x], a rank-R product M = B C gives
R vertical filters B and O horizontal ones C.  Whitened, B comes from the second moment of vertical patches, taken as
independent of their neighbours; given B, the C that is best for whole patches is a linear regression, solved exactly.
Zero padding and strides act on each axis alone, so each part takes those of its axis.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autocompress.passes.decompose.layers import DoubleArray, Layer, singular_values
from autocompress.passes.decompose.method import Attributes
from autocompress.passes.decompose.regression import regress


class Spatial:
    """I -> R (k x 1), then R -> O (1 x k)."""

    rank_count = 1

    def unfit(self, layer: Layer) -> str:
        """Why it is not for this layer; "" where it is."""
        if len(layer.kernel) != 2 or min(layer.kernel) < 2:
            return "its kernel does not extend over two dimensions"
        return ""

    def full_ranks(self, layer: Layer) -> tuple[int, ...]:
        """The smaller side of the matrix (I k_h, O k_w)."""
        return (min(layer.inputs * layer.kernel[0], layer.outputs * layer.kernel[1]),)

    def unfit_ranks(self, layer: Layer, ranks: Sequence[int]) -> str:
        """Every rank up to full makes sense."""
        return ""

    def relative_macs(self, layer: Layer, ranks: Sequence[int]) -> float:
        """R (I k_h s_w + O k_w) / (I O k_h k_w): the first part does not stride over the width yet."""
        height, width = layer.kernel
        parts = ranks[0] * (layer.inputs * height * layer.strides[1] + layer.outputs * width)
        return parts / (layer.inputs * layer.outputs * layer.taps)

    def spectra(self, kernel: DoubleArray, gram: DoubleArray | None) -> tuple[DoubleArray, ...]:
        """Singular values of the (weighted) matrix M."""
        return (singular_values(_weighted(kernel, gram)),)

    def factorize(self, kernel: DoubleArray, ranks: Sequence[int], gram: DoubleArray | None) -> tuple[DoubleArray, ...]:
        """(R, I, k_h, 1) and (O, R, 1, k_w)."""
        outputs, inputs, height, width = kernel.shape
        rank = ranks[0]
        right = np.linalg.svd(_weighted(kernel, gram), full_matrices=False)[2][:rank]  # (R, O k_w)
        vertical = right @ _matrix(kernel).T  # (R, I k_h)
        balance = np.sqrt(np.linalg.norm(vertical, axis=1))
        balance[balance == 0] = 1.0
        vertical /= balance[:, None]
        horizontal = (right * balance[:, None]).reshape(rank, outputs, width).transpose(1, 0, 2)
        if gram is not None:
            features = np.einsum("rp,xz->rxpz", vertical, np.eye(width)).reshape(rank * width, -1)
            # Patches are ordered (i, y, x), as (p, z) above.
            horizontal = regress(kernel.reshape(outputs, -1), features, gram).reshape(outputs, rank, width)
        return vertical.reshape(rank, inputs, height, 1), horizontal[:, :, None, :]

    def attributes(self, given: Attributes, rank: int) -> tuple[Attributes, ...]:
        """Each part takes what concerns its own axis."""
        return _along(given, 0), _along(given, 1)


def _along(given: Attributes, axis: int) -> Attributes:
    """The attributes of a part that works along one of two axes."""
    neutral = {"kernel_shape": 1, "strides": 1, "dilations": 1, "pads": 0}
    chosen: Attributes = {}
    for name, value in given.items():
        if name in neutral:
            chosen[name] = [v if position % 2 == axis else neutral[name] for position, v in enumerate(value)]
        else:
            chosen[name] = value
    return chosen


def _matrix(kernel: DoubleArray) -> DoubleArray:
    outputs, inputs, height, width = kernel.shape
    return kernel.transpose(1, 2, 0, 3).reshape(inputs * height, outputs * width)


def _weighted(kernel: DoubleArray, gram: DoubleArray | None) -> DoubleArray:
    """L^T M, with L L^T the mean second moment of the vertical patches of a patch; M without a gram."""
    if gram is None:
        return _matrix(kernel)
    width = kernel.shape[3]
    side = gram.shape[0] // width
    blocks = gram.reshape(side, width, side, width)
    moment = np.einsum("pxqx->pq", blocks) / width
    return np.linalg.cholesky(moment).T @ _matrix(kernel)
