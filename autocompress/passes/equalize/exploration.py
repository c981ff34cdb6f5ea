"""Closes a group of channels under the demands of everything that computes and reads them."""

from __future__ import annotations

from collections import deque

from onnx import NodeProto

from autocompress.graph.walk import is_standard
from autocompress.passes.equalize.channel_group import ChannelGroup, Reader
from autocompress.passes.equalize.elementwise import POOLING, UNARY, upper_bound
from autocompress.passes.equalize.layout import Layout
from autocompress.passes.equalize.network import Network, NotScalable, input_channels
from autocompress.passes.equalize.producers import Producer, producer
from autocompress.passes.equalize.rearranging import concatenated
from autocompress.passes.equalize.rules import RULES

_ONE_TO_ONE = UNARY | POOLING | {"Clip"}


class Exploration:
    """``_follow`` goes to the readers of a tensor, ``_explain`` to what computes it.

    Args:
        network: the model.
        anchor: the tensor to start from.
        layout: of that tensor; its channels are the group's.

    Raises:
        NotScalable: with the reason why the channels cannot be scaled (from ``group``, too).
    """

    def __init__(self, network: Network, anchor: str, layout: Layout) -> None:
        self._network = network
        self._anchor = anchor
        self._channels = int(layout.ids.size)
        self._tensors: dict[str, Layout] = {}
        self._to_follow: deque[str] = deque()
        self._to_explain: deque[str] = deque()
        self._joins: dict[str, NodeProto] = {}
        self._producers: dict[str, Producer] = {}
        self._readers: dict[str, Reader] = {}
        self._constants: dict[tuple[str, int], Layout] = {}
        self._bounds: dict[str, float] = {}
        self._passed: set[str] = set()
        self._free: dict[str, str] = {}
        self._divide(anchor, layout)

    def group(self) -> ChannelGroup:
        """Explores until nothing is left to demand."""
        # Sums are closed before operands are joined, because a join must know which of them are scaled.
        while self._to_follow or self._to_explain or self._joins:
            if self._to_follow:
                self._follow(self._to_follow.popleft())
            elif self._to_explain and not self._waits(self._to_explain[0]):
                self._explain(self._to_explain.popleft())
            elif self._joins:
                self._join(self._joins.pop(next(iter(self._joins))))
            else:
                raise NotScalable(f"{self._to_explain[0]!r} is joined with other channels")
        for name, node in self._free.items():
            if name in self._tensors:
                raise NotScalable(f"{node!r} multiplies the channels with themselves")
        if not self._readers:
            raise NotScalable("no layer reads it")
        order = self._network.position
        return ChannelGroup(
            anchor=self._anchor,
            channels=self._channels,
            producers=tuple(sorted(self._producers.values(), key=lambda p: order[p.node])),
            readers=tuple(sorted(self._readers.values(), key=lambda r: order[r.node])),
            constants=self._constants,
            tensors=self._tensors,
            bounds=self._bounds,
        )

    def _divide(self, name: str, layout: Layout) -> None:
        known = self._tensors.get(name)
        if known is not None:
            if known != layout:
                raise NotScalable(f"different channels meet in {name!r}")
            return
        if name in self._network.index.outputs:
            raise NotScalable(f"{name!r} is an output of the model")
        self._tensors[name] = layout
        self._to_follow.append(name)
        self._to_explain.append(name)

    def _waits(self, name: str) -> bool:
        """Whether a tensor comes from a join whose operands are not all known yet."""
        node = self._network.index.producers.get(name)
        return node is not None and node.name in self._joins

    def _explain(self, name: str) -> None:
        """Makes sure that what computes a tensor gives it divided."""
        if name in self._passed:
            return
        node = self._network.index.producers.get(name)
        if node is None:
            raise NotScalable(f"{name!r} is an input of the model")
        layout = self._tensors[name]
        if not is_standard(node.domain) or name != node.output[0]:
            raise NotScalable(f"{node.name!r} ({node.op_type}) computes it")
        if node.op_type in _ONE_TO_ONE and not self._network.index.is_constant(node.input[0]):
            self._divide(node.input[0], layout)
        elif node.op_type in ("Add", "Sub", "Sum"):
            self._divide(self._whole_term(node, layout), layout)
        else:
            found = producer(node, layout, self._network)
            self._producers[node.name] = found
            self._constants.update({(node.name, position): own for position, own in found.constants})

    def _whole_term(self, node: NodeProto, layout: Layout) -> str:
        """A term of a sum that has all axes along which the channel changes."""
        for name in node.input:
            sizes = None if self._network.index.is_constant(name) else self._network.sizes(name)
            if sizes is not None and layout.fits(sizes):
                return str(name)
        raise NotScalable(f"too little is known about the sizes at {node.name!r}")

    def _follow(self, name: str) -> None:
        """Hands the factors to every reader of a tensor."""
        for node in self._network.index.consumers.get(name, []):
            if name not in node.input:
                raise NotScalable(f"the body of {node.name!r} reads it")
            for position, given in enumerate(node.input):
                if given == name:
                    self._hand_to(node, position, self._tensors[name])

    def _hand_to(self, node: NodeProto, position: int, layout: Layout) -> None:
        if position == 0 and self._is_read_by(node, layout):
            return
        if node.op_type == "Concat" and is_standard(node.domain):
            self._joins[node.name] = node
            return
        rule = RULES.get(node.op_type) if is_standard(node.domain) else None
        if rule is None:
            raise NotScalable(f"{node.name!r} ({node.op_type}) reads it")
        passage = rule(node, position, layout, self._network)
        self._free.update(dict.fromkeys(passage.free, node.name))
        self._constants.update({(node.name, i): own for i, own in passage.constants})
        for i, _ in passage.constants:
            self._network.check_constant(node.input[i])
        if node.op_type == "Clip" and upper_bound(node, self._network) < float("inf"):
            self._bounds[node.name] = upper_bound(node, self._network)
        for name, own in passage.tied:
            self._divide(name, own)
        for name, own in passage.outputs:
            self._pass_on(node, name, own)

    def _is_read_by(self, node: NodeProto, layout: Layout) -> bool:
        network = self._network
        if not network.has_layer_weight(node):
            return False
        axis = layout.rank - 1 if node.op_type in ("Gemm", "MatMul") else 1
        ids = layout.vector(axis, input_channels(node, network.index.initializers[node.input[1]]))
        if ids is None:
            return False
        network.check_constant(node.input[1])
        network.check_own(node.input[1])
        self._readers[node.name] = Reader(node.name, ids)
        return True

    def _join(self, node: NodeProto) -> None:
        layouts = {name: self._tensors[name] for name in node.input if name in self._tensors}
        self._pass_on(node, node.output[0], concatenated(node, layouts, self._network))

    def _pass_on(self, node: NodeProto, name: str, layout: Layout) -> None:
        if node.name in self._producers:
            raise NotScalable(f"{node.name!r} multiplies the channels twice")
        self._passed.add(name)
        self._divide(name, layout)
