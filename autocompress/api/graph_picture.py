"""``inspect --graph``: the executed operators of a model as a picture, and what differs from another model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from autocompress.api.op_layers import known_name
from autocompress.api.operators import compute_dtype, shape_text
from autocompress.errors import ConfigError, StorageError
from autocompress.files import write_text
from autocompress.latency.families import family_of
from autocompress.latency.roofline import is_integer
from autocompress.passes.quantize import Unit
from autocompress.report.graph_picture import MOST_LETTERS, Box, graph_svg, place_in_network
from autocompress.report.structure import LayerFacts, LayerPair
from autocompress.report.wording import milliseconds
from autocompress.runtimes.protocol import ExecutedOp
from autocompress.search.attribution import attribute_ops

if TYPE_CHECKING:
    from autocompress.latency.estimator import OpPrice

_FOUR_BITS = ("int4", "uint4")
_MICROSECONDS = 1000.0
_BLOCK = 16


@dataclass(frozen=True)
class Original:
    """The model that a drawn one was made from.

    Attributes:
        ops: as executed.
        units: of its operators.
        pairs: its layers beside those of the drawn model.
    """

    ops: Sequence[ExecutedOp]
    units: Sequence[Unit]
    pairs: Sequence[LayerPair]


def write_graph_picture(
    path: Path,
    title: str,
    ops: Sequence[ExecutedOp],
    prices: Sequence[OpPrice],
    owners: Sequence[LayerFacts | None],
    zeros: Sequence[float],
    original: Original | None = None,
) -> None:
    """Draws a model as the runtime executes it.

    Args:
        path: an .svg file.
        title: stands above the picture.
        ops: in execution order.
        prices: of the operators.
        owners: the layer of each.
        zeros: share of zeros in the weight of each.
        original: what this model was made from; what differs is marked.

    Raises:
        ConfigError: when the file is not to be an .svg.
        StorageError: when it cannot be written.
    """
    if path.suffix.lower() != ".svg":
        raise ConfigError(f"the picture {path} must be an .svg file; give a name that ends in .svg")
    changes: dict[int, list[str]] = {} if original is None else _changes(ops, owners, original)
    writers = {name: i for i, op in enumerate(ops) for name in op.writes}
    total_us = sum(price.latency_us for price in prices) or 1.0
    boxes = []
    for i, (op, owner, price, share) in enumerate(zip(ops, owners, prices, zeros, strict=True)):
        earlier = [writers[name] for name in op.reads if name in writers]
        reads = tuple(sorted({source for source in earlier if source < i}))
        boxes.append(_box(op, owner, price, share, price.latency_us / total_us, tuple(changes.get(i, ())), reads))
    try:
        write_text(path, graph_svg(title, boxes))
    except OSError as error:
        raise StorageError(f"{path} cannot be written ({error.strerror}); give another --graph") from error


def _box(
    op: ExecutedOp,
    layer: LayerFacts | None,
    price: OpPrice,
    zeros: float,
    share: float,
    changes: tuple[str, ...],
    reads: tuple[int, ...],
) -> Box:
    name = known_name(op, layer)
    spent = milliseconds(price.latency_us / 1e3) if price.latency_us >= _MICROSECONDS else f"{price.latency_us:.3g} us"
    facts = [
        f"{op.signature.op_type} {name}",
        shape_text(op.signature),
        compute_dtype(op.signature),
        f"{spent} estimated ({price.source})",
        f"{zeros:.1%} zeros" if zeros else "",
        *changes,
    ]
    return Box(
        title=op.signature.op_type,
        lines=(place_in_network(name, MOST_LETTERS), _result(op), spent),
        tooltip="\n".join(fact for fact in facts if fact),
        kind=_kind(op),
        share=share,
        changes=changes,
        reads=reads,
    )


def _result(op: ExecutedOp) -> str:
    return "x".join(map(str, op.signature.outputs[0].shape)) if op.signature.outputs else ""


def _kind(op: ExecutedOp) -> str:
    family = family_of(op.signature)
    if any(t is not None and t.dtype in _FOUR_BITS for t in op.signature.inputs) or family == "nbits_matmul":
        return "low_bits"
    if family in ("conversion", "layout"):
        return "conversion"
    if family in ("movement", "view"):
        return "movement"
    return "int8" if is_integer(op.signature) else "float"


def _changes(
    ops: Sequence[ExecutedOp], owners: Sequence[LayerFacts | None], original: Original
) -> dict[int, list[str]]:
    """What was done to operators, by position: to their layers, their width, their precision."""
    before = zip(original.ops, attribute_ops(original.ops, original.units), strict=True)
    known = {unit: op for op, unit in before if unit is not None}
    pairs = {part.name: pair for pair in original.pairs for part in pair.after}
    found = {}
    for i, (op, unit, layer) in enumerate(zip(ops, attribute_ops(ops, original.units), owners, strict=True)):
        old = None if unit is None else known.get(unit)
        texts = _structural(pairs[layer.name]) if layer is not None else ([] if old is None else _narrower(op, old))
        if old is not None:
            texts += _fewer_bits(op, old)
        if texts:
            found[i] = texts
    return found


def _structural(pair: LayerPair) -> list[str]:
    """What was done to a layer besides its precision, which the executed operator itself shows."""
    return [text.removeprefix("decomposed ") for text in pair.done if not text.startswith("quantized")]


def _narrower(op: ExecutedOp, old: ExecutedOp) -> list[str]:
    """The channels that an operator without a layer of its own has lost."""
    # As multisets: the same tensor has its channels last in one kernel and second in another.
    was, now = (Counter(s.outputs[0].shape if s.outputs else ()) for s in (old.signature, op.signature))
    lost, won = sorted((was - now).elements()), sorted((now - was).elements())
    # Blocked kernels fill the channels up to whole blocks, which is no change of ours.
    if lost and won and -(-won[-1] // _BLOCK) * _BLOCK != lost[-1]:
        return [f"{lost[-1]} → {won[-1]} channels"]
    return []


def _fewer_bits(op: ExecutedOp, old: ExecutedOp) -> list[str]:
    found = []
    if is_integer(op.signature) and not is_integer(old.signature):
        found.append("to int8")
    if _kind(op) == "low_bits" and _kind(old) != "low_bits":
        found.append("to 4-bit weights")
    return found
