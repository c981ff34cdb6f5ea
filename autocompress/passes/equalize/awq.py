"""Activation-aware weight quantization: weights that meet large activations get finer steps.

    s_j = mean|X_j|^alpha,    W x ~ Q(W s) (x / s)

Within a block of weights that share a scale, multiplying the few that matter by s > 1 divides their rounding error by
s and hardly widens the block (Lin et al., "AWQ: Activation-aware Weight Quantization for On-Device LLM Compression
and Acceleration", MLSys 2024, section 3.2).  For each group alpha is the one of a grid with the least error at the
outputs of the layers; the grid starts at 0, so it is never worse than plain rounding there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto

from autocompress.calibration.scheme import Scheme, dequantize, quantize
from autocompress.calibration.weights import weight_scales
from autocompress.errors import ConfigError
from autocompress.passes.equalize.channel_group import ChannelGroup, Reader
from autocompress.passes.equalize.channel_inputs import per_channel
from autocompress.passes.equalize.equalized import Equalized
from autocompress.passes.equalize.input_scaling import check_where, scale_inputs_of_layers
from autocompress.passes.equalize.layers import canonical
from autocompress.passes.equalize.moments import InputMoments
from autocompress.passes.equalize.network import DoubleArray, Network, NotScalable
from autocompress.passes.equalize.scaling import WeightEditor, spread

_MATRICES = ("Gemm", "MatMul")
# Channels that calibration hardly saw count as this fraction of the largest.
_SMALLEST = 1e-4


@dataclass(frozen=True)
class AwqConfig:
    """Configuration of activation-aware weight quantization.

    Attributes:
        weight_dtype: of the weights to come, "int4" (symmetric), "uint4" (asymmetric), "int8" or "uint8".
        block_size: weights along the input axis that will share a scale.
        grid: number of values of alpha to try between 0 (included) and 1 (included).
        where: who divides the activations (see ``input_scaling``).

    Raises:
        ConfigError: when a field has a value that it cannot have.
    """

    weight_dtype: str = "uint4"
    block_size: int = 32
    grid: int = 21
    where: tuple[str, ...] = ("norm", "layer")

    def __post_init__(self) -> None:
        if self.weight_dtype not in ("int4", "uint4", "int8", "uint8"):
            raise ConfigError(f"awq step: weight_dtype is {self.weight_dtype!r}; it must be int4, uint4, int8 or uint8")
        if self.block_size < 1 or self.grid < 2:
            raise ConfigError("awq step: block_size must be at least 1 and grid at least 2")
        check_where("awq", self.where)


def protect_salient(
    model: ModelProto, moments: Mapping[str, InputMoments], config: AwqConfig = AwqConfig()
) -> Equalized:
    """Scales the inputs of matrices so that rounding their weights in blocks does least harm.

    Args:
        model: normalized and folded; not changed.
        moments: tensor that layers read -> its moments.
        config: see there.
    """

    def factors(group: ChannelGroup, network: Network, weights: WeightEditor) -> DoubleArray:
        if group.bounds:
            raise NotScalable(f"{next(iter(group.bounds))!r} bounds it from above")
        for reader in group.readers:
            if network.node(reader.node).op_type not in _MATRICES:
                raise NotScalable(f"{reader.node!r} reads it, whose weights are not rounded in blocks")
        inputs = per_channel(group, network, lambda tensor: moments[tensor].mean_abs if tensor in moments else None)
        layers = [_Layer(reader, network, moments, weights, config) for reader in group.readers]
        candidates = [salience_factors(inputs, i / (config.grid - 1)) for i in range(config.grid)]
        return min(candidates, key=lambda values: sum(layer.error(values) for layer in layers))

    return scale_inputs_of_layers(model, config.where, factors)


def salience_factors(mean_abs: DoubleArray, alpha: float) -> DoubleArray:
    """Factors mean|X|^alpha of shape (channels,), around 1 on a logarithmic scale."""
    if not (mean_abs > 0.0).any() or alpha == 0.0:
        return np.ones_like(mean_abs)
    values = np.maximum(mean_abs, mean_abs.max() * _SMALLEST) ** alpha
    centred: DoubleArray = values / np.sqrt(values.max() * values.min())
    return centred


class _Layer:
    """A matrix that reads a group, and what rounding it does to its output."""

    def __init__(
        self,
        reader: Reader,
        network: Network,
        moments: Mapping[str, InputMoments],
        weights: WeightEditor,
        config: AwqConfig,
    ) -> None:
        node: NodeProto = network.node(reader.node)
        self._ids = reader.ids
        self._moments = moments[node.input[0]]
        self._weight = canonical(node, weights.weight(reader.node))[0, :, :, 0]
        self._signal = self._moments.power(self._weight)
        self._scheme = Scheme(
            dtype=config.weight_dtype,
            symmetric=config.weight_dtype.startswith("int"),
            granularity="per_block",
            axis=1,
            block_size=config.block_size,
        )

    def error(self, factors: DoubleArray) -> float:
        """Mean square error of the output, relative to its power, for factors of shape (channels,)."""
        own = spread(factors, self._ids)
        scaled = (self._weight * own).astype(np.float32)
        scales, zero_points = weight_scales(scaled, self._scheme, "min_max")
        rounded = dequantize(quantize(scaled, scales, zero_points, self._scheme), scales, zero_points, self._scheme)
        error = self._moments.power(rounded / own - self._weight)
        return error / self._signal if self._signal > 0.0 else 0.0
