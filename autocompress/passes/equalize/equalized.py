"""What a pass of this package returns: the model, what it took to make it, what changed and what could not."""

from __future__ import annotations

from dataclasses import dataclass, field

from onnx import ModelProto

from autocompress.passes.equalize.network import DoubleArray


@dataclass(frozen=True, eq=False)
class EqualizePayload:
    """Everything that a pass took from weights and data: with it, the same bytes can be made again without data.

    The parts are applied in the order in which they stand here.

    Attributes:
        unbounded: names of Clip nodes that lose their upper bound.
        scales: anchor tensor of a channel group -> factors that divide it, float64 of shape (channels,).
        inserted: tensor -> factors that divide it in a new Mul before the layers that read it.
        shifts: tensor -> what is subtracted from it, float64 of shape (channels,).
    """

    unbounded: tuple[str, ...] = ()
    scales: dict[str, DoubleArray] = field(default_factory=dict)
    inserted: dict[str, DoubleArray] = field(default_factory=dict)
    shifts: dict[str, DoubleArray] = field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    """Channels that were scaled or shifted.

    Attributes:
        tensor: whose channels they are.
        producers: nodes whose constants changed, or which were inserted.
        readers: layers whose weights or biases changed in return.
        smallest: smallest factor or shift.
        largest: largest factor or shift.
    """

    tensor: str
    producers: tuple[str, ...]
    readers: tuple[str, ...]
    smallest: float
    largest: float


@dataclass(frozen=True)
class Skipped:
    """A node whose result stays as it is.

    Attributes:
        node: its name.
        reason: why, in words that go on after "because".
    """

    node: str
    reason: str


@dataclass(frozen=True, eq=False)
class Equalized:
    """The result of a pass.

    Attributes:
        model: computes the same as the model given, up to rounding and to what the pass says about itself.
        payload: ``apply_scales(given, payload)`` makes ``model`` again, to the byte.
        changes: in graph order.
        skipped: in graph order.
        stay_float: names of inserted nodes, which must not be quantized themselves.
    """

    model: ModelProto
    payload: EqualizePayload
    changes: tuple[Change, ...]
    skipped: tuple[Skipped, ...]
    stay_float: tuple[str, ...] = ()
