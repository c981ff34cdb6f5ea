"""Which dimension of each input counts samples.

The first dimension of an input of two or more dimensions is the batch when it is dynamic, unless another dimension
carries a usual name of a batch (sequence-first recurrent models).  Other inputs follow the symbols found so.
"""

from __future__ import annotations

from collections.abc import Sequence

from autocompress.graph.specs import Size, TensorSpec

_BATCH_SYMBOLS = frozenset({"n", "b", "bs", "batch", "batchsize", "batch_size", "batch_dim", "num_samples"})


def batch_axes(specs: Sequence[TensorSpec]) -> dict[str, int | None]:
    """Input name -> the dimension that counts samples, None where that is fixed or there is none."""
    axes = {spec.name: _own_axis(spec) for spec in specs}
    symbols = {_symbol(spec, axes[spec.name]) for spec in specs} - {None}
    for spec in specs:
        if axes[spec.name] is None:
            shared = [axis for axis, size in enumerate(spec.shape) if size in symbols]
            axes[spec.name] = shared[0] if shared else None
    return axes


def _own_axis(spec: TensorSpec) -> int | None:
    if len(spec.shape) < 2:  # a lone vector is data of some length unless another input says otherwise
        return None
    named = [axis for axis, size in enumerate(spec.shape) if _is_batch_name(size)]
    if named:
        return named[0]
    return None if isinstance(spec.shape[0], int) else 0


def _symbol(spec: TensorSpec, axis: int | None) -> str | None:
    size = None if axis is None else spec.shape[axis]
    return size if isinstance(size, str) else None


def _is_batch_name(size: Size) -> bool:
    return isinstance(size, str) and size.lower() in _BATCH_SYMBOLS
