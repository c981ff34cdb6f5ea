"""Where the axes of an operator's tensors lie in memory, whichever way a runtime says it.

ONNX Runtime gives shapes in the order of memory and marks channels that stand last (``channels_last``) or in blocks (a
domain of its own).  OpenVINO gives the shapes of the model and says in ``layouts`` how each activation and each result
is stored: one letter per axis of the model, slowest first; a capital letter stands for an axis that is cut into blocks,
which stand last.
"""

from __future__ import annotations

from math import prod

from autocompress.graph.signature import OpSignature, TensorType

Order = tuple[int, ...]


def channel_axis(signature: OpSignature, rank: int) -> int:
    """Position of the channels in a shape of so many axes, as the signature gives it; the last of fewer than three."""
    return rank - 1 if rank < 3 or dict(signature.attributes).get("channels_last") else 1


def order_of(signature: OpSignature, position: int, rank: int) -> Order:
    """Axes of a tensor from the slowest to the fastest in memory.

    Args:
        signature: the operator.
        position: of the tensor among its activations, followed by its results.
        rank: of the tensor.
    """
    layouts = dict(signature.attributes).get("layouts")
    usual = tuple(range(rank))
    if not isinstance(layouts, tuple) or position >= len(layouts):
        return usual
    letters = [letter for letter in str(layouts[position]) if letter.isalpha()]
    axes = [ord(letter.lower()) - ord("a") for letter in letters]
    blocked = [axis for axis, letter in zip(axes, letters, strict=True) if letter.isupper()]
    order = tuple(dict.fromkeys([axis for axis in axes if axis not in blocked] + blocked))
    return order if sorted(order) == list(usual) else usual


def operand_order(signature: OpSignature) -> Order:
    """Order of the first activation's axes."""
    operands = activations_of(signature)
    return order_of(signature, 0, len(operands[0].shape)) if operands else ()


def result_order(signature: OpSignature) -> Order:
    """Order of the first result's axes."""
    if not signature.outputs:
        return ()
    return order_of(signature, len(activations_of(signature)), len(signature.outputs[0].shape))


def in_memory(shape: tuple[int, ...], order: Order) -> tuple[int, ...]:
    """A shape in the order of memory."""
    return tuple(shape[axis] for axis in order) if len(order) == len(shape) else shape


def stride_of(shape: tuple[int, ...], order: Order, axis: int) -> int:
    """Elements between neighbours along an axis."""
    return prod(shape[other] for other in order[order.index(axis) + 1 :])


def is_interleaved(signature: OpSignature) -> bool:
    """Whether the channels of one pixel lie together, or in blocks, so that kernels work on vectors of channels."""
    if "nchwc" in signature.domain:
        return True
    operands = activations_of(signature)
    rank = len(operands[0].shape) if operands else 0
    return rank >= 3 and operand_order(signature)[-1] == channel_axis(signature, rank)


def activations_of(signature: OpSignature) -> list[TensorType]:
    """Operands that are not weights."""
    return [t for t in signature.inputs if t is not None and not t.constant]


def fused_with(signature: OpSignature) -> str:
    """What the operator computes besides its own, as one name."""
    attributes = dict(signature.attributes)
    fused = attributes.get("fused")
    names = [str(name) for name in fused] if isinstance(fused, tuple) else []
    return "+".join([str(attributes.get("activation", "")), *names]).strip("+")
