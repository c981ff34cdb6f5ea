"""Sparsity: weights become zero in patterns; tensors keep their sizes.

    2:4, 1:4, n:m       exactly n of each m input channels are kept              (N:M)
    unstructured@0.5    half the weights are zero
    kernel, row, column, block4x4 @0.5   half the kernels, output channels, input channels, blocks are zero
    unstructured        without a share: all such layers together reach ``global_sparsity``

``resolve`` chooses the zeros: by magnitude, by magnitude times input norm (Wanda), or one after the other with the
remaining weights making up for each (SparseGPT).  ``sparsify`` writes them.  ``report`` and ``stored_size`` say what
became of a model.  Stock runtimes execute zeros as fast as other numbers (docs/decisions/007-sparsity-and-runtimes.md).
"""

from __future__ import annotations

from autocompress.passes.sparsify.apply import sparsify
from autocompress.passes.sparsify.config import CRITERIA, SparsifyConfig
from autocompress.passes.sparsify.layers import sparsifiable_layers
from autocompress.passes.sparsify.payload import SparsifyPayload
from autocompress.passes.sparsify.report import LayerSparsity, report
from autocompress.passes.sparsify.resolve import resolve
from autocompress.passes.sparsify.schedule import CubicSchedule
from autocompress.passes.sparsify.sparse_storage import with_sparse_storage
from autocompress.passes.sparsify.stored_size import StoredSize, stored_size

__all__ = [
    "CRITERIA",
    "CubicSchedule",
    "LayerSparsity",
    "SparsifyConfig",
    "SparsifyPayload",
    "StoredSize",
    "report",
    "resolve",
    "sparsifiable_layers",
    "sparsify",
    "stored_size",
    "with_sparse_storage",
]
