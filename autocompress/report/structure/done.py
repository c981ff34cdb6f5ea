"""What was done to a layer, in words, from what it was and what it is."""

from __future__ import annotations

from collections.abc import Sequence

from autocompress.report.structure.facts import DYNAMIC, FLOAT, LayerFacts

_MORE_ZEROS = 0.01
_FLOATS = ("float32", "float64")
_PARTS = {"per_tensor": "per tensor", "per_channel": "per channel", "per_block": "in blocks"}


def what_was_done(before: LayerFacts | None, after: Sequence[LayerFacts]) -> tuple[str, ...]:
    """Everything that happened to a layer, in the order of a recipe's steps; () where it is as it was.

    Args:
        before: the layer of the original; None where it is new.
        after: its parts, in graph order; none where it is gone.
    """
    if before is None:
        return ("new",)
    if not after:
        return ("gone: merged into another layer, or removed",)
    found = [_decomposed(before, after), *_pruned(before, after), _sparse(before, after), _numbers(before, after)]
    return tuple(text for text in found if text)


def _decomposed(before: LayerFacts, after: Sequence[LayerFacts]) -> str:
    if len(after) == 1:
        return ""
    first = after[0]
    if len(after) == 3:
        return f"decomposed tucker2, rank {first.outputs}x{after[1].outputs}"
    # A spatial first part has the kernel of one dimension only; an SVD's has it whole.
    method = "svd" if first.kernel == before.kernel else "spatial"
    return f"decomposed {method}, rank {first.outputs}"


def _pruned(before: LayerFacts, after: Sequence[LayerFacts]) -> list[str]:
    inputs, outputs = after[0].inputs, after[-1].outputs
    if before.is_depthwise and (inputs, before.inputs) == (outputs, before.outputs):
        return [_fewer("channels", before.outputs, outputs)]
    if len(after) == 1 and after[0].kernel != before.kernel:
        inputs = before.inputs  # folded with a space-to-depth before it: pixels of the kernel instead of channels
    return [_fewer("outputs", before.outputs, outputs), _fewer("inputs", before.inputs, inputs)]


def _fewer(what: str, before: int, after: int) -> str:
    return f"pruned {before} → {after} {what}" if after < before else ""


def _sparse(before: LayerFacts, after: Sequence[LayerFacts]) -> str:
    elements, nonzero = sum(part.elements for part in after), sum(part.nonzero for part in after)
    share = 1.0 - nonzero / elements
    if share <= before.sparsity + _MORE_ZEROS:
        return ""
    common = [p for p in after[0].patterns if all(p in part.patterns for part in after) and p not in before.patterns]
    if common:
        return f"sparse {common[-1]}"
    # Rounding to integers makes some zeros of its own, which nobody chose.
    rounded = all(part.weight_dtype not in _FLOATS for part in after)
    return "" if rounded and share < 0.2 else f"{100 * share:.0f} % zeros"


def _numbers(before: LayerFacts, after: Sequence[LayerFacts]) -> str:
    """The numbers that it computes with, where they are others than before."""
    known = _form(before)
    found = dict.fromkeys(form for part in after if (form := _form(part)) and form != known)
    return f"quantized {' and '.join(found)}" if found else ""


def _form(layer: LayerFacts) -> str:
    if layer.weight_dtype in _FLOATS:
        return ""
    if layer.weight_dtype in ("float16", "bfloat16"):
        return f"{layer.weight_dtype} weights"
    parts = _PARTS.get(layer.granularity, "")
    if layer.activation_dtype == FLOAT:
        return f"{layer.weight_dtype} weights {parts}, float activations"
    dynamic = "dynamic " if layer.activation_dtype == DYNAMIC else ""
    return f"{dynamic}{layer.weight_dtype} {parts}"
