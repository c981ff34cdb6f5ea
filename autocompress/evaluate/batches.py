"""Running a model over samples, a batch at a time, with its outputs checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from autocompress.data.samples import SampleSource
from autocompress.errors import AutocompressError, CandidateFailed

Values = npt.NDArray[Any]


class ModelSession(Protocol):
    """A loaded model; a runtime's session fits."""

    def run(self, feeds: Mapping[str, Any], /) -> dict[str, Values]:
        """Runs once; returns every output by name."""
        ...


def run_batches(
    session: ModelSession,
    source: SampleSource,
    indices: npt.NDArray[np.int64],
    batch_size: int,
    error: type[AutocompressError] = CandidateFailed,
) -> Iterator[tuple[npt.NDArray[np.int64], dict[str, Values]]]:
    """(indices, outputs by name) of each batch.

    Args:
        session: the model.
        source: the samples.
        indices: which of them, in this order.
        batch_size: samples per run, cut to what the model takes.
        error: what to raise for NaN or Inf.

    Raises:
        AutocompressError: of class ``error``, when an output holds NaN or Inf.
    """
    size = min(batch_size, source.largest_batch or batch_size)
    for start in range(0, len(indices), size):
        batch = indices[start : start + size]
        outputs = session.run(source.inputs(batch))
        for name, output in outputs.items():
            check_output(name, output, batch, error)
        yield batch, outputs


def check_output(
    name: str, output: Values, batch: npt.NDArray[np.int64], error: type[AutocompressError] = CandidateFailed
) -> None:
    """Checks that an output is finite.

    Raises:
        AutocompressError: of class ``error``, naming the output and the sample.
    """
    if output.dtype.kind != "f" or np.isfinite(output).all():
        return
    bad = ~np.isfinite(output)
    what = "NaN" if np.isnan(output).any() else "Inf"
    position = int(np.argmax(bad.reshape(len(output), -1).any(axis=1))) if output.ndim else 0
    sample = batch[position] if output.ndim and len(output) == len(batch) else batch[0]
    raise error(f"Output '{name}' holds {what} at sample {sample}.")


def stored_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """float32 for floats (half the size of float64, and wide enough for float16), else as it is."""
    return np.dtype(np.float32) if dtype.kind == "f" else dtype
