"""SmoothQuant: moves what is hard to quantize from activations into weights.

    s_j = max|X_j|^alpha / max|W_j|^(1 - alpha),    Y = (X / s) (W s)

(Xiao et al., "SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language Models", ICML 2023,
equation 4).  With alpha = 0.5 activations and weights of a channel get the same range; with any alpha, smoothing a
group again changes nothing while its neighbours stay.  A channel that is never used, or has no weights, keeps its
scale.

Where channels pass a Clip with an upper bound (ReLU6), factors are limited so that it acts as before: see
``cross_layer``, "within".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import ModelProto

from autocompress.calibration.statistics import Statistics
from autocompress.errors import ConfigError
from autocompress.passes.equalize.channel_group import ChannelGroup
from autocompress.passes.equalize.channel_inputs import per_channel
from autocompress.passes.equalize.clips import bounds_on_factors, fitted
from autocompress.passes.equalize.equalized import Equalized
from autocompress.passes.equalize.input_scaling import check_where, scale_inputs_of_layers
from autocompress.passes.equalize.layers import magnitudes
from autocompress.passes.equalize.magnitudes import largest_per_channel
from autocompress.passes.equalize.network import DoubleArray, Network
from autocompress.passes.equalize.noise import ExpectedNoise
from autocompress.passes.equalize.scaling import WeightEditor

_ALPHAS = tuple(i / 20 for i in range(21))
# Larger values of alpha fit the calibration data more tightly, so they have to promise more than this.
_GOOD_ENOUGH = 1.2


@dataclass(frozen=True)
class SmoothConfig:
    """Configuration of SmoothQuant.

    Attributes:
        alpha: in [0, 1]; the larger, the more moves from activations into weights.  None chooses for each group, among
            leaving it alone and a grid of values, the first that comes close to the least expected error of int8 with
            one scale per output channel of the weights (see ``noise``).
        where: who divides the activations (see ``input_scaling``).
        headroom: how much larger than calibrated a channel may become before a Clip that it never reached cuts it
            off, at least 1.

    Raises:
        ConfigError: when a field has a value that it cannot have.
    """

    alpha: float | None = None
    where: tuple[str, ...] = ("norm", "layer")
    headroom: float = 1.1

    def __post_init__(self) -> None:
        if self.alpha is not None and not 0.0 <= self.alpha <= 1.0:
            raise ConfigError(f"smooth step: alpha is {self.alpha!r}; it must be in [0, 1], or None")
        if not self.headroom >= 1.0:
            raise ConfigError(f"smooth step: headroom is {self.headroom!r}; it must be at least 1")
        check_where("smooth", self.where)


def smooth(model: ModelProto, statistics: Statistics, config: SmoothConfig = SmoothConfig()) -> Equalized:
    """Divides activations and multiplies weights so that both are easy to quantize.

    Args:
        model: normalized and folded; not changed.
        statistics: of the tensors that layers read, with channels.
        config: see there.
    """

    def largest_input(tensor: str) -> DoubleArray | None:
        channels = statistics[tensor].channels if tensor in statistics else None
        return None if channels is None else channels.abs_max.astype(np.float64)

    def factors(group: ChannelGroup, network: Network, weights: WeightEditor) -> DoubleArray:
        inputs = per_channel(group, network, largest_input)
        weight_maxima = _largest_weights(group, network, weights)
        limits = bounds_on_factors(group, network, statistics, config.headroom)

        def with_alpha(alpha: float) -> DoubleArray:
            return fitted(smoothing_factors(inputs, weight_maxima, alpha), *limits, bounded=bool(group.bounds))

        if config.alpha is not None:
            return with_alpha(config.alpha)
        noise = ExpectedNoise(group, network, statistics, weights)
        candidates = [np.ones(group.channels), *(with_alpha(alpha) for alpha in _ALPHAS)]
        expected = [noise(values) for values in candidates]
        enough = min(expected) * _GOOD_ENOUGH
        return next(values for values, error in zip(candidates, expected, strict=True) if error <= enough)

    return scale_inputs_of_layers(model, config.where, factors)


def smoothing_factors(inputs: DoubleArray, weights: DoubleArray, alpha: float) -> DoubleArray:
    """The factors of the equation above.

    Args:
        inputs: largest magnitude per channel of the activations, of shape (channels,).
        weights: largest magnitude per channel of the weights that read them, of shape (channels,).
        alpha: in [0, 1].
    """
    used = (inputs > 0.0) & (weights > 0.0)
    safe = np.where(used, inputs, 1.0) ** alpha / np.where(used, weights, 1.0) ** (1.0 - alpha)
    return np.where(used, safe, 1.0)


def _largest_weights(group: ChannelGroup, network: Network, weights: WeightEditor) -> DoubleArray:
    found = np.zeros(group.channels)
    for reader in group.readers:
        own = magnitudes(network.node(reader.node), weights.weight(reader.node)).max(axis=1).reshape(-1)
        np.maximum(found, largest_per_channel(group.channels, reader.ids, own), out=found)
    return found
