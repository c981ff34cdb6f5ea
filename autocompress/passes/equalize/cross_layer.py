"""Cross-layer equalization: the weights of neighbouring layers get equal ranges, channel by channel.

    s = sqrt(r1 / r2),    r1 / s = r2 * s = sqrt(r1 * r2)

with r1 the largest magnitude of what writes a channel and r2 of what reads it (Nagel et al., "Data-Free Quantization
Through Weight Equalization and Bias Correction", ICCV 2019, section 4.1.1).  A layer between two groups, such as a
depthwise convolution, belongs to both, so the pass goes over the groups until none moves any more.

Where channels pass a Clip with an upper bound u (ReLU6), dividing by s would move the bound to u / s, another one for
each channel, which no integer kernel can apply.  Three ways out:

    "skip"      such channels stay as they are
    "within"    the Clip stays.  A channel that reaches u on calibration data keeps s = 1, so that its bound stays u;
                any other keeps max(x) / s <= u, so that the bound is never reached.  The function stays the same for
                inputs whose channels stay within ``headroom`` times their calibrated maximum.
    "unbound"   the bound is removed where no more than ``saturated_share`` of the values reach it on calibration
                data, which changes the function for those that do (and for those channels that come after)

Under "within" the factors of a group have a common factor that makes channels with s = 1 fit in best.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto

from autocompress.calibration.statistics import Statistics
from autocompress.errors import ConfigError
from autocompress.passes.equalize.apply import apply_scales
from autocompress.passes.equalize.channel_group import ChannelGroup, change_of
from autocompress.passes.equalize.clips import bounds_on_factors, fitted, removable_bounds, without_bounds
from autocompress.passes.equalize.equalized import Equalized, EqualizePayload, Skipped
from autocompress.passes.equalize.groups import find_groups
from autocompress.passes.equalize.magnitudes import Magnitudes, touched
from autocompress.passes.equalize.network import DoubleArray, Network, NotScalable

CLIPS = ("skip", "within", "unbound")


@dataclass(frozen=True)
class CrossLayerConfig:
    """Configuration of cross-layer equalization.

    Attributes:
        clips: what happens to channels with an upper bound, see above.
        headroom: under "within", at least 1.
        saturated_share: under "unbound", in [0, 1].
        largest_factor: factors stay between its inverse and itself.
        tolerance: largest relative difference of ranges that counts as equal.
        sweeps: over all groups, at most.

    Raises:
        ConfigError: when a field has a value that it cannot have.
    """

    clips: str = "within"
    headroom: float = 1.1
    saturated_share: float = 0.001
    largest_factor: float = 1024.0
    tolerance: float = 1e-3
    sweeps: int = 200

    def __post_init__(self) -> None:
        if self.clips not in CLIPS:
            raise ConfigError(f"equalize step: clips is {self.clips!r}; it must be one of {', '.join(CLIPS)}")
        limits = {
            "headroom": self.headroom >= 1.0,
            "saturated_share": 0.0 <= self.saturated_share <= 1.0,
            "largest_factor": self.largest_factor >= 1.0,
            "tolerance": self.tolerance > 0.0,
            "sweeps": self.sweeps >= 1,
        }
        for name, holds in limits.items():
            if not holds:
                raise ConfigError(f"equalize step: {name} cannot be {getattr(self, name)!r}")


def equalize(
    model: ModelProto, statistics: Statistics | None = None, config: CrossLayerConfig = CrossLayerConfig()
) -> Equalized:
    """Equalizes weight ranges across layers; equalizing the result again changes nothing.

    Args:
        model: normalized and folded; not changed.
        statistics: of the results of Clips, with channels; needed unless ``config.clips`` is "skip" or the model has
            no bounded activations.
        config: see there.
    """
    known = statistics if statistics is not None else Statistics({}, 0)
    unbounded: tuple[str, ...] = ()
    start = model
    if config.clips == "unbound":
        unbounded = removable_bounds(Network(model), known, config.saturated_share)
        start = without_bounds(model, unbounded)
    network = Network(start)
    found, skipped = find_groups(network, network.has_layer_weight)
    limits, left_out = _limits(found, network, known, config)
    groups = [group for group in found if group.anchor in limits]
    factors = _Balance(network, groups, limits, config).factors()
    payload = EqualizePayload(unbounded, {anchor: s for anchor, s in factors.items() if (s != 1.0).any()})
    return Equalized(
        model=apply_scales(model, payload),
        payload=payload,
        changes=tuple(change_of(group, factors[group.anchor]) for group in groups if group.anchor in payload.scales),
        skipped=tuple(sorted((*skipped, *left_out), key=lambda entry: network.position[entry.node])),
    )


def _limits(
    groups: tuple[ChannelGroup, ...], network: Network, statistics: Statistics, config: CrossLayerConfig
) -> tuple[dict[str, tuple[DoubleArray, DoubleArray]], list[Skipped]]:
    """Anchor -> smallest and largest factors, and what has to stay as it is."""
    limits, skipped = {}, []
    for group in groups:
        low, high = np.zeros(group.channels), np.full(group.channels, np.inf)
        try:
            if group.bounds and config.clips != "within":
                raise NotScalable(f"{next(iter(group.bounds))!r} bounds it from above")
            if group.bounds:
                low, high = bounds_on_factors(group, network, statistics, config.headroom)
        except NotScalable as reason:
            skipped.append(Skipped(group.producers[0].node, str(reason)))
            continue
        limits[group.anchor] = np.maximum(low, 1.0 / config.largest_factor), np.minimum(high, config.largest_factor)
    return limits, skipped


class _Balance:
    """Moves group after group to equal ranges; a group is looked at again when a neighbour has moved."""

    def __init__(
        self,
        network: Network,
        groups: list[ChannelGroup],
        limits: dict[str, tuple[DoubleArray, DoubleArray]],
        config: CrossLayerConfig,
    ) -> None:
        self._groups = groups
        self._limits = limits
        self._config = config
        self._magnitudes = Magnitudes(network, groups)
        self._factors = {group.anchor: np.ones(group.channels) for group in groups}
        self._around: dict[str, set[int]] = defaultdict(set)
        for i, group in enumerate(groups):
            for name in touched(group):
                self._around[name].add(i)

    def factors(self) -> dict[str, DoubleArray]:
        """Factors of every group."""
        # What is equal enough stays, but what moves is moved well below that, so that a second pass finds no reason.
        waiting = {i for i, group in enumerate(self._groups) if self._move(group)[1] > self._config.tolerance}
        if not waiting:
            return self._factors
        waiting = set(range(len(self._groups)))
        for _ in range(self._config.sweeps):
            moved = [i for i in sorted(waiting) if self._settle(self._groups[i])]
            waiting = {near for i in moved for name in touched(self._groups[i]) for near in self._around[name]}
            if not waiting:
                break
        return self._factors

    def _settle(self, group: ChannelGroup) -> bool:
        step, size = self._move(group)
        if size <= self._config.tolerance / 8.0:
            return False
        self._magnitudes.divide(group, step)
        self._factors[group.anchor] = self._factors[group.anchor] * step
        return True

    def _move(self, group: ChannelGroup) -> tuple[DoubleArray, float]:
        """Factors that equalize a group as it is now, and by how much they differ from 1."""
        written, read = self._magnitudes.written(group), self._magnitudes.read(group)
        alive = (written > 0.0) & (read > 0.0)
        step = np.sqrt(np.where(alive, written, 1.0) / np.where(alive, read, 1.0))
        now = self._factors[group.anchor]
        low, high = self._limits[group.anchor]
        wanted = np.where(alive, now * step, 1.0)
        step = np.where(alive, fitted(wanted, low, high, bool(group.bounds)) / now, 1.0)
        return step, float(np.abs(np.log(step)).max())
