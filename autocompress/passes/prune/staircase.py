"""Which widths of a group are worth a trial: those where the price falls.

Kernels work on blocks of channels, so latency falls with the width in steps, and some smaller widths are slower than
larger ones.  Only widths that are cheaper than every larger one are proposed (the lower-left envelope).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto

from autocompress.errors import ConfigError
from autocompress.graph.channels import ChannelAnalysis, ChannelGroup, analyse_channels
from autocompress.latency.estimator import LatencyEstimator
from autocompress.passes.prune.removal import without_units
from autocompress.runtimes.protocol import Feeds, Runtime

PriceModels = Callable[[Iterable[ModelProto]], Sequence[float]]
"""Prices models as a runtime executes them, in ms and in order; they are made one by one as it asks for them."""


@dataclass(frozen=True)
class WidthStep:
    """A width worth proposing.

    Attributes:
        width: units that stay.
        ratio: the pruning ratio that leaves so many.
        latency_ms: of the model with this width.
    """

    width: int
    ratio: float
    latency_ms: float


def candidate_widths(group: ChannelGroup, multiple: int = 4, smallest: float = 0.1) -> tuple[int, ...]:
    """Widths to price, largest first, without the full one.

    Args:
        group: to prune.
        multiple: block of channels; widths are such that the group's first layer keeps a multiple of it where a unit
            holds fewer channels than that.
        smallest: fraction of the units that stays at least.
    """
    step = max(1, multiple // group.channels) if group.size + group.fixed > multiple else 1
    total = group.size + group.fixed
    fewest = max(1 if group.fixed == 0 else 0, int(np.ceil(group.size * smallest)))
    widths = (total - group.fixed for total in range((total - 1) // step * step, 0, -step))
    return tuple(width for width in widths if fewest <= width < group.size)


def worthwhile_widths(
    widths: Sequence[int], prices_ms: Sequence[float], full: int, full_ms: float, gain: float = 0.02
) -> tuple[WidthStep, ...]:
    """Widths that are cheaper than the full one and than every larger one.

    Args:
        widths: candidates, largest first.
        prices_ms: of the model with each width.
        full: all units.
        full_ms: price of the model with all units.
        gain: how much cheaper than the one before a step must be, as a part of what the cheapest width saves; less is
            no step that could be measured.

    Returns:
        The steps, largest width first.
    """
    least_ms = gain * max(full_ms - min(prices_ms, default=full_ms), 0.0)
    steps: list[WidthStep] = []
    cheapest = full_ms
    for width, latency_ms in zip(widths, prices_ms, strict=True):
        if latency_ms < cheapest and cheapest - latency_ms >= least_ms:
            steps.append(WidthStep(width, 1.0 - width / full, latency_ms))
            cheapest = latency_ms
    return tuple(steps)


def width_steps(
    model: ModelProto,
    price_ms: PriceModels,
    groups: Iterable[str] | None = None,
    *,
    analysis: ChannelAnalysis | None = None,
    multiple: int = 4,
    gain: float = 0.02,
) -> dict[str, tuple[WidthStep, ...]]:
    """The widths of each group that the runtime rewards, all other groups left as they are.

    Args:
        model: normalized and folded; not changed.
        price_ms: asked once for all widths of a group.
        groups: names; all groups where None.
        analysis: of ``model``; made unless given.
        multiple: see ``candidate_widths``.
        gain: see ``worthwhile_widths``.

    Raises:
        ConfigError: a group of this name does not exist.
    """
    found = analyse_channels(model) if analysis is None else analysis
    full_ms = price_ms([model])[0]
    steps = {}
    for name in [group.name for group in found.groups] if groups is None else groups:
        group = found.group(name)
        if group is None:
            raise ConfigError(f"the model has no group {name!r} of channels; name groups of this very model")
        widths = candidate_widths(group, multiple)
        models = (without_units(model, found, {name: np.arange(width, group.size)}) for width in widths)
        prices = price_ms(models) if widths else ()
        steps[name] = worthwhile_widths(widths, prices, group.size, full_ms, gain)
    return steps


def executed_prices(estimator: LatencyEstimator, runtime: Runtime, feeds: Feeds, threads: int = 1) -> PriceModels:
    """Prices models by the operators that the runtime makes of them.

    Args:
        estimator: prices operators.
        runtime: shows models as executed.
        feeds: inputs whose shapes count.
        threads: of the runtime.
    """

    def price(models: Iterable[ModelProto]) -> Sequence[float]:
        executed = [
            list(runtime.executed_ops(model.SerializeToString(), feeds, threads=threads, standalone=False))
            for model in models
        ]
        return [estimate.latency_ms for estimate in estimator.estimate_many(executed)]

    return price
