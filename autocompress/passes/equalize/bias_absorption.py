"""High-bias absorption: what a channel always has moves from its activations into the next layer's bias.

    c = max(0, min(x), mean(x) - sigmas * deviation(x))

is taken off a channel x behind a Relu (Nagel et al., ICCV 2019, section 4.1.3, which assumes a normal distribution
from batch normalization; here mean, deviation and minimum are measured).  The function is unchanged wherever x >= c:
for every calibrated value where c is the minimum, and for all but one value in 741 of a normal distribution at three
sigmas.  Channels get smaller ranges, which equalization may have made large.

Behind a normalization or a layer without activation nothing is cut off, so ``center`` takes off the middle of the
range exactly (as in Wei et al., "Outlier Suppression+", EMNLP 2023, section 3.1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto

from autocompress.calibration.channels import ChannelStatistics
from autocompress.calibration.statistics import Statistics
from autocompress.errors import ConfigError
from autocompress.passes.equalize.apply import apply_scales
from autocompress.passes.equalize.clips import REACHED
from autocompress.passes.equalize.equalized import Change, Equalized, EqualizePayload, Skipped
from autocompress.passes.equalize.network import DoubleArray, Network, NotScalable
from autocompress.passes.equalize.producers import is_producer
from autocompress.passes.equalize.shift_paths import ACTIVATIONS, ShiftPath, find_shift_path


@dataclass(frozen=True)
class AbsorptionConfig:
    """Configuration of high-bias absorption.

    Attributes:
        sigmas: how many standard deviations below its mean a channel may be cut off (3 in the paper); None cuts off
            nothing that calibration has seen.
        center: whether channels that no activation cuts off are centred.

    Raises:
        ConfigError: ``sigmas`` is negative or not finite.
    """

    sigmas: float | None = None
    center: bool = False

    def __post_init__(self) -> None:
        if self.sigmas is not None and not 0.0 <= self.sigmas < float("inf"):
            raise ConfigError(f"equalize step: sigmas is {self.sigmas!r}; it must be a number from 0 up, or None")


def absorb_high_biases(
    model: ModelProto, statistics: Statistics, config: AbsorptionConfig = AbsorptionConfig()
) -> Equalized:
    """Moves constants out of activations; absorbing again changes nothing where c was the minimum.

    Args:
        model: normalized and folded; not changed.
        statistics: of its activations, with channels.
        config: see there.
    """
    network = Network(model)
    shifts: dict[str, DoubleArray] = {}
    changes: list[Change] = []
    skipped: list[Skipped] = []
    for node in network.index.graph.node:
        if not _is_start(node, network, config):
            continue
        try:
            path = find_shift_path(network, node.output[0])
            amounts = _amounts(path, statistics, config)
        except NotScalable as reason:
            skipped.append(Skipped(node.name, str(reason)))
            continue
        if amounts.any():
            shifts[path.anchor] = amounts
            readers = tuple(reader.node for reader in path.readers)
            extremes = float(amounts.min()), float(amounts.max())
            changes.append(Change(path.anchor, (path.bias_node,), readers, *extremes))
    payload = EqualizePayload(shifts=shifts)
    return Equalized(apply_scales(model, payload), payload, tuple(changes), tuple(skipped))


def _is_start(node: NodeProto, network: Network, config: AbsorptionConfig) -> bool:
    """Whether the channels of a node's result are to be shifted."""
    if node.op_type in ACTIVATIONS:
        return True
    reader = network.index.sole_consumer(node.output[0])
    before_activation = reader is not None and reader.op_type in ACTIVATIONS
    return config.center and not before_activation and (node.op_type == "Add" or is_producer(node, network))


def _amounts(path: ShiftPath, statistics: Statistics, config: AbsorptionConfig) -> DoubleArray:
    """What each channel loses, of shape (channels,)."""
    known = statistics[path.anchor].channels if path.anchor in statistics else None
    ids = None if known is None else path.tensors[path.anchor].vector(known.axis, known.sum.size)
    if known is None or ids is None:
        raise NotScalable(f"there are no statistics per channel of {path.anchor!r}")
    if path.activation is None:
        return (known.minimum.astype(np.float64) + known.maximum) / 2.0
    always = np.maximum(_almost_minimum(known, config.sigmas), 0.0)
    # A channel that reaches an upper bound would be cut off there instead.
    return np.where(known.maximum < path.bound * REACHED, always, 0.0)


def _almost_minimum(channels: ChannelStatistics, sigmas: float | None) -> DoubleArray:
    smallest = channels.minimum.astype(np.float64)
    return smallest if sigmas is None else np.maximum(smallest, channels.mean - sigmas * np.sqrt(channels.variance))
