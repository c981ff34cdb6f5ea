"""The original model's outputs, kept on disk: the truth where there are no labels, and what damage is measured by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autocompress.data.rows import RowWriter, open_npy
from autocompress.data.samples import Indices, SampleSource
from autocompress.data.spool import ensure_room, session_folder
from autocompress.errors import MetricError, ModelError
from autocompress.evaluate.batches import ModelSession, run_batches, stored_dtype

Values = npt.NDArray[Any]


@dataclass(frozen=True)
class Reference:
    """Outputs of the original model on some samples, read from disk when asked for; picklable.

    Attributes:
        folder: where they lie.
        names: outputs, in the model's order.
        indices: samples they are of, in the order of the rows on disk.
    """

    folder: str
    names: tuple[str, ...]
    indices: npt.NDArray[np.int64] = field(repr=False)

    def outputs(self, indices: Indices, names: Sequence[str] | None = None) -> dict[str, Values]:
        """Outputs of the named samples, shape (len(indices), ...), float32 where the model gives floats.

        Raises:
            KeyError: when a sample or an output was not recorded.
            DataError: when the files are gone.
        """
        rows = self._positions(np.asarray(indices, dtype=np.int64))
        wanted = self.names if names is None else tuple(names)
        given = {}
        for name in wanted:
            stored = open_npy(self._path(name), f"the original's output '{name}'")
            try:
                given[name] = stored.rows(rows)
            finally:
                stored.close()
        return given

    def _path(self, name: str) -> Path:
        return Path(self.folder) / f"{self.names.index(name)}.npy"

    def _positions(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        order = np.argsort(self.indices, kind="stable")
        found: npt.NDArray[np.int64] = order[
            np.searchsorted(self.indices, indices, sorter=order).clip(max=len(order) - 1)
        ]
        if not np.array_equal(self.indices[found], indices):
            raise KeyError("a sample that the reference does not hold")
        return found


def record_reference(
    session: ModelSession,
    source: SampleSource,
    indices: Indices,
    *,
    folder: str | Path | None = None,
    batch_size: int = 1,
) -> Reference:
    """Runs the original model over samples and keeps its outputs.

    Args:
        session: the original model.
        source: the samples.
        indices: which of them.
        folder: where to keep the outputs; a session folder that goes away at exit when None.
        batch_size: samples per run.

    Raises:
        ModelError: when an output holds NaN or Inf.
        MetricError: when an output's size differs between samples, so that it cannot be compared element by element.
        DataError: when the disk is full.
    """
    target = session_folder() if folder is None else Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    wanted = np.asarray(indices, dtype=np.int64)
    names: tuple[str, ...] = ()
    with ExitStack() as stack:
        writers: list[RowWriter] = []
        for batch, outputs in run_batches(session, source, wanted, batch_size, ModelError):
            if not writers:
                names = tuple(outputs)
                needed = sum(o.nbytes for o in outputs.values()) * len(wanted) // len(batch)
                ensure_room(target, needed, "the original model's outputs")
                writers = [stack.enter_context(RowWriter(target / f"{k}.npy")) for k in range(len(names))]
            for name, writer in zip(names, writers, strict=True):
                _append(writer, outputs[name], name, len(batch))
    return Reference(str(target), names, wanted)


def recorded_batches(
    reference: Reference, indices: npt.NDArray[np.int64], batch_size: int
) -> Iterator[tuple[npt.NDArray[np.int64], Mapping[str, Values]]]:
    """Batches of recorded outputs, as ``run_batches`` gives them, without running anything."""
    for start in range(0, len(indices), batch_size):
        batch = indices[start : start + batch_size]
        yield batch, reference.outputs(batch)


def _append(writer: RowWriter, output: Values, name: str, count: int) -> None:
    if not output.ndim or len(output) != count:
        raise MetricError(
            f"Output '{name}' has {output.shape} for {count} samples, so samples cannot be compared one by one: give "
            "a function of your own with --metric."
        )
    try:
        writer.append(output.astype(stored_dtype(output.dtype), copy=False))
    except ValueError as error:
        raise MetricError(
            f"Output '{name}' changes its size between samples, so it cannot be compared element by element: give a "
            "function of your own with --metric."
        ) from error
