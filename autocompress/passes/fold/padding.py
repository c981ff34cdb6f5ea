"""Zero padding before a convolution becomes the convolution's own padding."""

from __future__ import annotations

from onnx import ModelProto, NodeProto, helper

from autocompress.graph.index import GraphIndex, attribute
from autocompress.graph.walk import is_standard


def absorb_padding(model: ModelProto) -> int:
    """Lets every convolution do the zero padding of its input itself, in place.

    The Pad node stays (for other readers) until dead nodes are dropped.

    Returns:
        How many convolutions changed.
    """
    index = GraphIndex(model)
    changed = 0
    for node in model.graph.node:
        before = index.producers.get(node.input[0]) if node.op_type == "Conv" and is_standard(node.domain) else None
        if before is None or before.op_type != "Pad" or not is_standard(before.domain):
            continue
        rank = _rank(node, index)
        padding = None if rank is None else _spatial_zeros(before, index, rank)
        own = _own_padding(node, rank or 0)
        if padding is None or own is None:
            continue
        _set_padding(node, [a + b for a, b in zip(own, padding, strict=True)])
        node.input[0] = before.input[0]
        changed += 1
    return changed


def _rank(conv: NodeProto, index: GraphIndex) -> int | None:
    weight = index.initializers.get(conv.input[1])
    return None if weight is None else len(weight.dims)


def _spatial_zeros(pad: NodeProto, index: GraphIndex, rank: int) -> list[int] | None:
    """Begins then ends per spatial dimension, or None where the node does anything else than add zeros there."""
    mode = attribute(pad, "mode", b"constant")
    given = [*pad.input[1:], "", "", ""][:3]
    if mode != b"constant" or any(name and name not in index.initializers for name in given) or not given[0]:
        return None
    amounts, value, axes = (index.weight(name).reshape(-1).tolist() if name else None for name in given)
    if value is not None and any(number != 0 for number in value):
        return None
    dimensions = list(range(rank)) if axes is None else [int(axis) % rank for axis in axes]
    assert amounts is not None
    begins, ends = [0] * rank, [0] * rank
    for position, dimension in enumerate(dimensions):
        begins[dimension] = int(amounts[position])
        ends[dimension] = int(amounts[position + len(dimensions)])
    if any(begins[:2]) or any(ends[:2]) or min(*begins, *ends) < 0:
        return None
    return begins[2:] + ends[2:]


def _own_padding(conv: NodeProto, rank: int) -> list[int] | None:
    """The convolution's explicit padding, or None where it is computed from the input size."""
    automatic = attribute(conv, "auto_pad", b"NOTSET")
    if automatic not in (b"NOTSET", b"VALID", b""):
        return None
    pads = attribute(conv, "pads")
    if pads is None or automatic == b"VALID":
        return [0] * (2 * (rank - 2))
    assert isinstance(pads, list)
    return [int(amount) for amount in pads]


def _set_padding(conv: NodeProto, pads: list[int]) -> None:
    kept = [a for a in conv.attribute if a.name not in ("pads", "auto_pad")]
    del conv.attribute[:]
    conv.attribute.extend([*kept, helper.make_attribute("pads", pads)])
