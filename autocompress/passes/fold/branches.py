"""Parallel convolutions of one tensor that are added up become one (RepVGG, Ding et al. 2021, arXiv 2101.03697).

    W x + V x + a x + x + b  =  (W + V + diag(a) + I) x + b

A smaller kernel is padded with zeros to the larger; x itself and a normalization of x are 1 x 1 kernels.  All branches
must meet the same input positions: equal strides and groups, and padding that differs as the kernels do.  At least two
convolutions must take part: a shortcut around a single one stays, since it costs nothing in a runtime that fuses it
and spoils the range of quantized weights.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from onnx import ModelProto, NodeProto, helper

from autocompress.graph.index import attribute
from autocompress.graph.walk import is_standard
from autocompress.passes.fold.affine import FLOATS, FloatArray, affine_of
from autocompress.passes.fold.stored_weights import StoredWeights
from autocompress.passes.fold.sums import Sum, sums, write_sum


@dataclass(frozen=True)
class _Branch:
    """One summand W x + b.

    Attributes:
        leaf: the tensor that is added.
        source: x.
        node: the convolution; None for what is turned into one.
        kernel: W, of shape (outputs, inputs / groups, *kernel).
        bias: b, of shape (outputs,).
        begins: padding before, per axis.
        ends: padding after, per axis.
        strides: per axis.
        dilations: per axis.
        group: number of groups.
    """

    leaf: str
    source: str
    node: NodeProto | None
    kernel: FloatArray
    bias: FloatArray
    begins: tuple[int, ...]
    ends: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    group: int


def merge_branches(model: ModelProto) -> int:
    """Merges the branches of every sum that can be, in place; what they were computed by is left without readers.

    Returns:
        How many sums changed.
    """
    stored = StoredWeights(model)
    changed = 0
    for total in sums(model):
        merged = _merge(total, stored)
        if merged is not None:
            conv, rest = merged
            write_sum(model, total, conv, rest, stored)
            changed += 1
    return changed


def _merge(total: Sum, stored: StoredWeights) -> tuple[NodeProto, list[str]] | None:
    """The convolution that takes the place of the first group of branches, and the summands left."""
    convolutions = [_convolution(leaf, stored) for leaf in total.leaves if total.leaves.count(leaf) == 1]
    groups: dict[tuple[object, ...], list[_Branch]] = defaultdict(list)
    for branch in convolutions:
        if branch is not None:
            groups[branch.source, branch.strides, branch.group, branch.kernel.shape[0]].append(branch)
    for group in groups.values():
        largest = max(group, key=lambda branch: branch.kernel[0, 0].size)
        taken = [
            largest,
            *(branch for branch in group if branch is not largest and _placed(branch, largest) is not None),
        ]
        if len(taken) < 2:
            continue
        others = (_pointwise(leaf, largest, stored) for leaf in total.leaves)
        taken += [b for b in others if b is not None and _placed(b, largest) is not None]
        conv = _joined(taken, largest, stored)
        if conv is not None:
            names = {branch.leaf for branch in taken}
            return conv, [leaf for leaf in total.leaves if leaf not in names]
    return None


def _convolution(leaf: str, stored: StoredWeights) -> _Branch | None:
    index = stored.index
    node = index.producers.get(leaf)
    if node is None or node.op_type != "Conv" or not is_standard(node.domain) or index.sole_consumer(leaf) is None:
        return None
    weight = index.initializers.get(node.input[1])
    name = node.input[2] if len(node.input) > 2 else ""
    if weight is None or weight.data_type not in FLOATS or (name and not index.is_constant(name)):
        return None
    if attribute(node, "auto_pad", b"NOTSET") != b"NOTSET" or 0 in weight.dims:
        return None
    kernel = stored.values(node.input[1])
    rank = kernel.ndim - 2
    pads = _integers(node, "pads", 0, 2 * rank)
    return _Branch(
        leaf=leaf,
        source=node.input[0],
        node=node,
        kernel=kernel,
        bias=stored.values(name) if name else np.zeros(len(kernel)),
        begins=pads[:rank],
        ends=pads[rank:],
        strides=_integers(node, "strides", 1, rank),
        dilations=_integers(node, "dilations", 1, rank),
        group=_integers(node, "group", 1, 1)[0],
    )


def _pointwise(leaf: str, largest: _Branch, stored: StoredWeights) -> _Branch | None:
    """The source itself, or its normalization, as a 1 x 1 kernel like another branch."""
    outputs, per_group = largest.kernel.shape[:2]
    rank = largest.kernel.ndim - 2
    if outputs != per_group * largest.group:
        return None
    scale, shift = np.ones(outputs), np.zeros(outputs)
    if leaf != largest.source:
        node = stored.index.producers.get(leaf)
        if node is None or largest.source not in node.input or stored.index.sole_consumer(leaf) is None:
            return None
        affine = affine_of(node, largest.source, stored.index.initializers, outputs, rank + 2)
        if affine is None or not affine.is_finite:
            return None
        scale, shift = affine.scale, affine.shift
    kernel = np.zeros((outputs, per_group))
    kernel[np.arange(outputs), np.arange(outputs) % per_group] = scale
    zeros, ones = (0,) * rank, (1,) * rank
    return replace(
        largest,
        leaf=leaf,
        node=None,
        kernel=kernel.reshape(outputs, per_group, *ones),
        bias=shift,
        begins=zeros,
        ends=zeros,
        strides=ones,
        dilations=ones,
    )


def _placed(branch: _Branch, largest: _Branch) -> tuple[slice, ...] | None:
    """Where a kernel lies within a larger one, per axis; None where the two do not meet the same positions."""
    places = []
    for axis in range(len(largest.begins)):
        size, most = branch.kernel.shape[2 + axis], largest.kernel.shape[2 + axis]
        dilation = largest.dilations[axis]
        shift = largest.begins[axis] - branch.begins[axis]
        reach = largest.ends[axis] - branch.ends[axis]
        same_steps = size == 1 or branch.dilations[axis] == dilation
        if branch.strides[axis] != largest.strides[axis] or not same_steps or shift % dilation:
            return None
        start = shift // dilation
        if start < 0 or start + size > most or shift + reach != dilation * (most - size):
            return None
        places.append(slice(start, start + size))
    return tuple(places)


def _joined(branches: Sequence[_Branch], largest: _Branch, stored: StoredWeights) -> NodeProto | None:
    """One convolution for all branches; None where a number becomes infinite."""
    node = largest.node
    assert node is not None
    kernel, bias = largest.kernel.copy(), largest.bias.copy()
    for branch in branches:
        if branch is largest:
            continue
        place = _placed(branch, largest)
        assert place is not None
        kernel[(slice(None), slice(None), *place)] += branch.kernel
        bias += branch.bias
    arrays = stored.as_type_of(node.input[1], kernel, bias)
    if arrays is None:
        return None
    old = node.input[2] if len(node.input) > 2 else ""
    names = [stored.own_name(node.input[1]), stored.own_name(old) if old else stored.new_name(f"{node.output[0]}_bias")]
    operands = [node.input[0], *(stored.put(name, array) for name, array in zip(names, arrays, strict=True))]
    joined = helper.make_node("Conv", operands, [node.output[0]], name=node.name)
    joined.attribute.extend(node.attribute)
    return joined


def _integers(node: NodeProto, name: str, default: int, count: int) -> tuple[int, ...]:
    value = attribute(node, name, [default] * count)
    return tuple(int(v) for v in value) if isinstance(value, list) else (int(str(value)),)
