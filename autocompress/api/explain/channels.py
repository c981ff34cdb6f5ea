"""What another number of channels would cost: real prices of the neighbouring multiples of what kernels work in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from autocompress.graph.signature import OpSignature, TensorType
from autocompress.latency.estimator import BOUND, LatencyEstimator, OpPrice
from autocompress.runtimes.work import convolution_kernel, weight_of

_MULTIPLES = (16, 8, 4)
OUT, IN, BOTH = "output", "input", "all"


@dataclass(frozen=True)
class Neighbour:
    """The same operator with another number of channels.

    Attributes:
        channels: that number.
        price: what it would cost.
    """

    channels: int
    price: OpPrice


@dataclass(frozen=True)
class OddChannels:
    """A number of channels that is no multiple of what kernels work in.

    Attributes:
        side: which channels: "output", "input" or "all" (of a depthwise convolution).
        channels: how many there are.
        now: what the operator costs.
        below: with the next lower multiple; None where there is none.
        above: with the next higher multiple.
    """

    side: str
    channels: int
    now: OpPrice
    below: Neighbour | None
    above: Neighbour

    @property
    def step(self) -> int:
        """The multiple that they are none of."""
        return self.above.channels - (self.below.channels if self.below is not None else 0)

    @property
    def waste(self) -> float:
        """How much more each channel costs than at the next higher multiple, as a fraction."""
        per_channel = self.now.latency_us / self.channels
        return per_channel / (self.above.price.latency_us / self.above.channels) - 1.0


def odd_channels(signature: OpSignature, estimator: LatencyEstimator) -> list[OddChannels]:
    """The sides of a weighted operator whose channels are odd, with their neighbours' prices."""
    found = []
    for side, channels, changed in _sides(signature):
        step = _step_missed(channels)
        if step is None:
            continue
        lower, upper = channels // step * step, -(-channels // step) * step
        wanted = [n for n in (lower, upper) if n]
        now, *prices = (estimator.price([s])[0] for s in (signature, *(changed(n) for n in wanted)))
        if any(price.source == BOUND for price in (now, *prices)):
            continue  # a bound is good for a total, not for a comparison
        neighbours = [Neighbour(n, price) for n, price in zip(wanted, prices, strict=True)]
        found.append(OddChannels(side, channels, now, neighbours[0] if lower else None, neighbours[-1]))
    return found


def _step_missed(channels: int) -> int | None:
    """The multiple to compare with: the largest of 16, 8 and 4 that the channels exceed and miss; None where none."""
    return next((m for m in _MULTIPLES if channels % m and (channels > m or m == min(_MULTIPLES))), None)


def _sides(signature: OpSignature) -> list[tuple[str, int, Callable[[int], OpSignature]]]:
    kernel = convolution_kernel(signature)
    if kernel is not None:
        return _convolution_sides(signature, kernel)
    weight = weight_of(signature)
    given = signature.inputs[0] if signature.inputs else None
    if weight is None or len(weight.shape) != 2 or given is None or not signature.outputs or not given.shape:
        return []
    inner, outer = given.shape[-1], signature.outputs[0].shape[-1] if signature.outputs[0].shape else 0
    if set(weight.shape) != {inner, outer}:
        return []
    turned = weight.shape == (outer, inner) and (inner != outer or dict(signature.attributes).get("transB") == 1)
    out_axis = 0 if turned else 1
    return [
        (OUT, outer, lambda n: _with_output(signature, weight, out_axis, -1, n)),
        (IN, inner, lambda n: _with_input(signature, weight, 1 - out_axis, -1, n)),
    ]


def _convolution_sides(
    signature: OpSignature, kernel: TensorType
) -> list[tuple[str, int, Callable[[int], OpSignature]]]:
    attributes = dict(signature.attributes)
    axis = -1 if attributes.get("channels_last") else 1
    group, channels = attributes.get("group", 1), kernel.shape[0]
    if group == 1:
        return [
            (OUT, channels, lambda n: _with_output(signature, kernel, 0, axis, n)),
            (IN, kernel.shape[1], lambda n: _with_input(signature, kernel, 1, axis, n)),
        ]
    if group != channels or kernel.shape[1] != 1:
        return []

    def depthwise(n: int) -> OpSignature:
        both = _with_output(_with_input(signature, kernel, None, axis, n), kernel, 0, axis, n)
        regrouped = {**dict(both.attributes), "group": n}
        return replace(both, attributes=tuple(sorted(regrouped.items())))

    return [(BOTH, channels, depthwise)]


def _with_output(signature: OpSignature, weight: TensorType, axis: int, result_axis: int, n: int) -> OpSignature:
    before = weight.shape[axis]
    inputs = [_resized(t, weight, axis, before, n) for t in signature.inputs]
    outputs = tuple(replace(t, shape=_changed(t.shape, result_axis, n)) for t in signature.outputs)
    # A residual that is added in place has the shape of the result.
    same = [t.shape for t in signature.outputs]
    inputs = [
        replace(t, shape=_changed(t.shape, result_axis, n)) if i and t and not t.constant and t.shape in same else t
        for i, t in enumerate(inputs)
    ]
    return replace(signature, inputs=tuple(inputs), outputs=outputs)


def _with_input(signature: OpSignature, weight: TensorType, axis: int | None, given_axis: int, n: int) -> OpSignature:
    first, *rest = signature.inputs
    assert first is not None
    if axis is not None:
        rest = [replace(t, shape=_changed(t.shape, axis, n)) if t is not None and t == weight else t for t in rest]
    return replace(signature, inputs=(replace(first, shape=_changed(first.shape, given_axis, n)), *rest))


def _resized(tensor: TensorType | None, weight: TensorType, axis: int, before: int, after: int) -> TensorType | None:
    """The weight with another number of output channels, and what there is one of per output channel."""
    if tensor is None or not tensor.constant:
        return tensor
    if tensor == weight:
        return replace(tensor, shape=_changed(tensor.shape, axis, after))
    return replace(tensor, shape=(after,)) if tensor.shape == (before,) else tensor


def _changed(shape: Sequence[int], axis: int, size: int) -> tuple[int, ...]:
    changed = list(shape)
    changed[axis] = size
    return tuple(changed)
