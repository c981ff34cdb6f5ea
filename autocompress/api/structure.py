"""The layers of a model for ``inspect`` and reports: what each holds, what was done to it, what its zeros are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import onnx

from autocompress.errors import ModelError
from autocompress.graph.normalize import normalize
from autocompress.passes.sparsify import stored_size
from autocompress.report.structure import LayerFacts, LayerPair, layer_facts, totals
from autocompress.report.wording import percent, plural, size
from autocompress.runtimes import RUNTIMES_THAT_SKIP_ZEROS
from autocompress.runtimes.protocol import ExecutedOp

_MANY_ZEROS = 0.2
_BLOCKED_DOMAIN = "com.microsoft.nchwc"


@dataclass(frozen=True)
class StoredLayers:
    """The layers of one model.

    Attributes:
        facts: in graph order; none where they cannot be listed.
        model: normalized; None where it cannot be.
        notices: why they cannot be listed.
    """

    facts: tuple[LayerFacts, ...]
    model: onnx.ModelProto | None
    notices: tuple[str, ...] = ()


def stored_layers(model: onnx.ModelProto) -> StoredLayers:
    """The layers of a model as given.

    Args:
        model: loaded; multiply-adds are known where its input sizes are numbers.
    """
    try:
        normalized = normalize(model)
    except ModelError as error:
        return StoredLayers((), None, (f"layers are not listed: {error}",))
    return StoredLayers(layer_facts(normalized), normalized)


def changes_document(
    pairs: Sequence[LayerPair], before: Sequence[LayerFacts], after: Sequence[LayerFacts]
) -> dict[str, Any]:
    """What was done to a model, JSON-ready: ``layers`` side by side, and the sums ``before`` and ``after``."""
    return {
        "layers": [pair.to_dict() for pair in pairs],
        "before": asdict(totals(before)),
        "after": asdict(totals(after)),
    }


def zeros_of_ops(ops: Sequence[ExecutedOp], owners: Sequence[LayerFacts | None]) -> list[float]:
    """Share of zeros in the stored weight of each executed operator.

    Kernels that work on blocks of channels fill their weights up with zeros, so an operator of such a kernel that
    belongs to no layer has none to tell of.

    Args:
        ops: the operators.
        owners: their layers.
    """
    return [_packed_zeros(op) if layer is None else layer.sparsity for op, layer in zip(ops, owners, strict=True)]


def _packed_zeros(op: ExecutedOp) -> float:
    return 0.0 if op.signature.domain == _BLOCKED_DOMAIN else op.signature.sparsity


def stored_sizes(model: onnx.ModelProto, layers: Sequence[LayerFacts]) -> dict[str, int] | None:
    """Sizes of the file with and without its zeros, where it has many; else None."""
    return asdict(stored_size(model)) if totals(layers).sparsity >= _MANY_ZEROS else None


def zeros_sentences(layers: Sequence[LayerFacts], sizes: Mapping[str, int] | None, runtime: str) -> list[str]:
    """What a model's zeros are worth in a runtime, and in bytes; nothing where there are few.

    Args:
        layers: of the model.
        sizes: what ``stored_sizes`` gave.
        runtime: name of the runtime.
    """
    said = []
    if sizes is not None:
        said.append(
            f"{percent(totals(layers).sparsity)} of the weights are zero: {_worth(runtime)}; the file takes "
            f"{size(sizes['file_bytes'])}, with ONNX sparse tensors {size(sizes['sparse_file_bytes'])}, compressed by "
            f"deflate (as in .zip) {size(sizes['deflate_bytes'])}, as bit masks with the other values "
            f"{size(sizes['bitmask_bytes'])}"
        )
    dead = [count for layer in layers if (count := round(layer.zero_rows * layer.outputs))]
    if dead:
        verb = "is" if sum(dead) == 1 else "are"
        said.append(
            f"{plural(sum(dead), 'output channel')} in {plural(len(dead), 'layer')} {verb} all zero and still "
            "computed: channel pruning takes such channels out ('autocompress run --search-space channel_pruning')"
        )
    return said


def _worth(runtime: str) -> str:
    if runtime in RUNTIMES_THAT_SKIP_ZEROS:
        return f"{runtime} skips them where its kernels can"
    return f"{runtime} multiplies them like other numbers, so they save no time"
