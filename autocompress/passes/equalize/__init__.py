"""Passes that keep the float function and make it easier to quantize.

    equalize                weights of neighbouring layers get equal ranges           (cross_layer)
    absorb_high_biases      what a channel always has moves into the next bias        (bias_absorption)
    smooth                  large activations move into weights: SmoothQuant          (smooth)
    protect_salient         weights of large activations get finer steps: AWQ         (awq)

Each returns an ``Equalized``; ``apply_scales`` makes its model again from its payload, without data.
"""

from __future__ import annotations

from autocompress.passes.equalize.apply import apply_scales
from autocompress.passes.equalize.awq import AwqConfig, protect_salient
from autocompress.passes.equalize.bias_absorption import AbsorptionConfig, absorb_high_biases
from autocompress.passes.equalize.changed import changed_channels
from autocompress.passes.equalize.cross_layer import CrossLayerConfig, equalize
from autocompress.passes.equalize.equalized import Change, Equalized, EqualizePayload, Skipped
from autocompress.passes.equalize.moments import InputMoments
from autocompress.passes.equalize.smooth import SmoothConfig, smooth

__all__ = [
    "AbsorptionConfig",
    "AwqConfig",
    "Change",
    "CrossLayerConfig",
    "EqualizePayload",
    "Equalized",
    "InputMoments",
    "Skipped",
    "SmoothConfig",
    "absorb_high_biases",
    "apply_scales",
    "changed_channels",
    "equalize",
    "protect_salient",
    "smooth",
]
