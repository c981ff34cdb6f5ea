"""Single layers around a given operator: what it would be with other channels, planes and windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from autocompress.graph.signature import OpSignature
from autocompress.latency.families import family_of
from autocompress.latency.roofline import is_integer
from autocompress.latency.zoo.network import Network, Value
from autocompress.latency.zoo.variant import Variant
from autocompress.runtimes.protocol import Array
from autocompress.runtimes.work import convolution_kernel, multiply_adds, weight_of

FLOAT, INT8, DYNAMIC = "float", "int8", "dynamic"
_VARIANTS = {
    FLOAT: Variant("layers"),
    INT8: Variant("int8_layers", int8_share=1.0),
    DYNAMIC: Variant("dynamic_layers", int8_share=1.0, dynamic=True),
}
_SPREAD = 0.5  # of log channels
_PLANE_SPREAD = 0.35  # of log height and width
_BLOCK = 8
_OTHER_WINDOW = 0.25
_WINDOWS = (3, 5, 7)
_FEW_CHANNELS = 4  # colours of an image, not a width


@dataclass(frozen=True)
class Layer:
    """A convolution, or a matrix product with weights.

    Attributes:
        arithmetic: "float", "int8" or "dynamic".
        shape: of its input: (batch, channels, *plane), or (..., features).
        channels: channels or features of its result.
        window: of a convolution; () for a product.
        stride: of a convolution.
        dilation: of a convolution.
        group: groups of channels of a convolution.
        act: activation after it, or None.
    """

    arithmetic: str
    shape: tuple[int, ...]
    channels: int
    window: tuple[int, ...] = ()
    stride: int = 1
    dilation: int = 1
    group: int = 1
    act: str | None = None

    def add_to(self, net: Network, x: Value) -> Value:
        """Builds the layer."""
        if not self.window:
            return net.dense(x, self.channels, self.act)
        options = {"stride": self.stride, "group": self.group, "dilation": self.dilation}
        return net.conv(x, self.channels, self.window, act=self.act, **options)

    def varied(self, rng: np.random.Generator) -> Layer:
        """A layer like this one; half of all widths are multiples of 8, the others as uneven as pruning leaves them."""
        act = str(rng.choice(["relu", "none"]))
        changed = replace(self, act=None if act == "none" else act)
        if not self.window:
            rows = tuple(_near(size, rng, _PLANE_SPREAD) for size in self.shape[:-1])
            return replace(changed, shape=(*rows, _width(self.shape[-1], rng)), channels=_width(self.channels, rng))
        batch, channels_in, *plane = self.shape
        window = self.window
        if max(window) > 1 and rng.random() < _OTHER_WINDOW:
            window = (int(rng.choice(_WINDOWS)),) * len(window)
        reach = self.dilation * (max(window) - 1) + 1
        sizes = tuple(max(_near(size, rng, _PLANE_SPREAD), reach) for size in plane)
        per_group, results = channels_in // self.group, self.channels // self.group
        if per_group == 1 and self.group > 1:
            group = _width(self.group, rng)
        else:
            group, per_group, results = self.group, _width(per_group, rng), _width(results, rng)
        return replace(
            changed, shape=(batch, group * per_group, *sizes), channels=group * results, window=window, group=group
        )


def layer_of(signature: OpSignature) -> Layer | None:
    """The layer that an operator is, or None where it is neither a convolution nor a product with weights."""
    data = signature.inputs[0] if signature.inputs else None
    if data is None or not signature.outputs or data.constant:
        return None
    arithmetic = _arithmetic(signature)
    kernel = convolution_kernel(signature)
    if kernel is not None:
        return _convolution(signature, data.shape, kernel.shape, arithmetic)
    weight = weight_of(signature)
    if weight is None or len(weight.shape) != 2 or not multiply_adds(signature) or len(data.shape) < 2:
        return None
    inner = weight.elements // signature.outputs[0].shape[-1]
    return Layer(arithmetic, (*data.shape[:-1], inner), signature.outputs[0].shape[-1])


def network_of(layers: Sequence[Layer], seed: int) -> tuple[bytes, dict[str, Array]]:
    """A model of layers side by side, all of one arithmetic, and inputs for it."""
    net = Network(replace(_VARIANTS[layers[0].arithmetic], seed=seed))
    rng = np.random.default_rng(seed)
    results: list[Value] = []
    feeds: dict[str, Array] = {}
    for number, layer in enumerate(layers):
        x = net.input(layer.shape, f"x{number}")
        feeds[x.name] = np.abs(rng.standard_normal(layer.shape)).astype(np.float32)
        results.append(layer.add_to(net, x))
    return bytes(net.model(results).SerializeToString()), feeds


def _arithmetic(signature: OpSignature) -> str:
    if family_of(signature) == "dynamic_matmul":
        return DYNAMIC
    return INT8 if is_integer(signature) else FLOAT


def _convolution(
    signature: OpSignature, data: tuple[int, ...], kernel: tuple[int, ...], arithmetic: str
) -> Layer | None:
    attributes = dict(signature.attributes)
    group = attributes.get("group", 1)
    strides, dilations = (attributes.get(name, (1,)) for name in ("strides", "dilations"))
    plane = data[1:-1] if attributes.get("channels_last") else data[2:]
    if not isinstance(group, int) or not isinstance(strides, tuple) or not isinstance(dilations, tuple):
        return None
    if not plane or len(plane) != len(kernel) - 2 or prod(kernel) == 0:
        return None
    return Layer(
        arithmetic,
        (data[0], kernel[1] * group, *plane),
        kernel[0],
        window=kernel[2:],
        stride=int(strides[0]),
        dilation=int(dilations[0]),
        group=group,
    )


def _near(size: int, rng: np.random.Generator, spread: float) -> int:
    return size if size == 1 else max(1, round(size * float(np.exp(rng.uniform(-spread, spread)))))


def _width(channels: int, rng: np.random.Generator) -> int:
    if channels <= _FEW_CHANNELS:
        return channels
    width = _near(channels, rng, _SPREAD)
    return max(_BLOCK, width // _BLOCK * _BLOCK) if rng.random() < 0.5 else width
