"""Low-rank decomposition: a layer becomes two or three smaller ones.

    svd       (I -> O)                 I -> R -> O                      Gemm, MatMul, convolution (last part 1 x 1)
    spatial   (I -> O, k x k)          I -> R (k x 1) -> O (1 x k)      convolution
    tucker2   (I -> O, k x k)          I -> P -> Q (k x k) -> O         convolution

``resolve`` finds the factors, by the weights alone or ``whitened``: as good as they can be for the inputs that the
layer really gets.  ``decompose`` writes them into a model.  ``energy`` and ``staircase`` say which ranks are worth a
trial.
"""

from __future__ import annotations

from autocompress.passes.decompose.apply import decompose
from autocompress.passes.decompose.config import DecomposeConfig
from autocompress.passes.decompose.layers import Layer, decomposable_layers
from autocompress.passes.decompose.methods import METHODS, why_not
from autocompress.passes.decompose.payload import DecomposePayload
from autocompress.passes.decompose.resolve import resolve
from autocompress.passes.decompose.staircase import RankStep, candidate_ranks, worthwhile_ranks

__all__ = [
    "METHODS",
    "DecomposeConfig",
    "DecomposePayload",
    "Layer",
    "RankStep",
    "candidate_ranks",
    "decomposable_layers",
    "decompose",
    "resolve",
    "why_not",
    "worthwhile_ranks",
]
