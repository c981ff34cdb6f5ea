"""Divides what layers read: the common part of passes that choose factors by the inputs of layers.

Who divides:

    "norm"      a normalization before: its scale and bias
    "layer"     a layer before, with nothing but operators in between that leave factors intact: the values of an
                attention, a Relu, pooling
    "insert"    a Mul of its own, where nothing before can, as in front of a residual connection that needs the
                tensor too
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from onnx import ModelProto, NodeProto

from autocompress.errors import ConfigError
from autocompress.passes.equalize.apply import apply_scales
from autocompress.passes.equalize.channel_group import ChannelGroup, change_of
from autocompress.passes.equalize.equalized import Change, Equalized, EqualizePayload, Skipped
from autocompress.passes.equalize.groups import find_groups
from autocompress.passes.equalize.insertion import find_insertion, multiplications
from autocompress.passes.equalize.network import DoubleArray, Network, NotScalable
from autocompress.passes.equalize.scaling import WeightEditor

WHERE = ("norm", "layer", "insert")

Factors = Callable[[ChannelGroup, Network, WeightEditor], DoubleArray]
"""Chooses the factors of a group, given the weights as scaled so far; raises NotScalable where it cannot."""


def check_where(step: str, where: Collection[str]) -> None:
    """Refuses places that do not exist.

    Raises:
        ConfigError: naming the first one.
    """
    for place in where:
        if place not in WHERE:
            raise ConfigError(f"{step} step: where names {place!r}; it may name {', '.join(WHERE)}")


def scale_inputs_of_layers(model: ModelProto, where: Collection[str], factors: Factors) -> Equalized:
    """Divides the inputs of layers by chosen factors and multiplies their weights.

    Args:
        model: normalized and folded; not changed.
        where: who divides, see above.
        factors: chooses; groups come in graph order, insertions last.
    """
    network = Network(model)
    editor = WeightEditor(model)
    groups, skipped = find_groups(network, lambda node: _place(node, network) in where)
    sites = list(groups)
    if "insert" in where:
        sites += _insertions(network, {reader.node for group in groups for reader in group.readers})
    chosen: dict[str, DoubleArray] = {}
    changes: list[Change] = []
    left_out = list(skipped)
    for site in sites:
        try:
            values = factors(site, network, editor)
        except NotScalable as reason:
            left_out.append(Skipped(_name(site), str(reason)))
            continue
        if (values != 1.0).any():
            editor.divide(site, values)
            chosen[site.anchor] = values
            changes.append(change_of(site, values))
    folded = {group.anchor for group in groups}
    payload = EqualizePayload(
        scales={anchor: values for anchor, values in chosen.items() if anchor in folded},
        inserted={anchor: values for anchor, values in chosen.items() if anchor not in folded},
    )
    result = apply_scales(model, payload)
    left_out.sort(key=lambda entry: network.position[entry.node])
    return Equalized(result, payload, tuple(changes), tuple(left_out), multiplications(result, payload.inserted))


def _place(node: NodeProto, network: Network) -> str:
    return "layer" if network.has_layer_weight(node) else "norm"


def _name(site: ChannelGroup) -> str:
    return site.producers[0].node if site.producers else site.readers[0].node


def _insertions(network: Network, done: Collection[str]) -> list[ChannelGroup]:
    """Groups for the tensors whose layers nothing else divides, in graph order."""
    sites = {}
    for node in network.index.graph.node:
        if node.name in done or not network.has_layer_weight(node) or node.input[0] in sites:
            continue
        try:
            site = find_insertion(network, node.input[0])
        except NotScalable:
            continue
        if not {reader.node for reader in site.readers} & set(done):
            sites[node.input[0]] = site
    return list(sites.values())
