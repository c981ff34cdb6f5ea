"""Samples from named arrays on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from autocompress.data.binding import bind_inputs
from autocompress.data.fit import check_finite
from autocompress.data.matching import label_notices
from autocompress.data.preprocess import Preprocess
from autocompress.data.rows import Rows
from autocompress.data.samples import GROUPS, LABELS, SAMPLE_INDEX, Array, Indices, ModelInputLike
from autocompress.errors import DataError


class ArraySource:
    """A ``SampleSource`` over arrays that can be read row by row (a .npz file, a spool).

    Args:
        arrays: stored arrays by name.
        model_inputs: what the model takes.
        preprocess: what is done to images.
        notices: what there is to say about the file itself.

    Raises:
        DataError: when the arrays do not fit the model.
    """

    def __init__(
        self,
        arrays: Mapping[str, Rows],
        model_inputs: Sequence[ModelInputLike],
        preprocess: Preprocess,
        notices: tuple[str, ...] = (),
    ) -> None:
        self._arrays = dict(arrays)
        self._bindings, self._count, found = bind_inputs(arrays, model_inputs, preprocess)
        used = {binding.array_name for binding in self._bindings}
        self._extras = {name: rows for name, rows in arrays.items() if name not in used}
        self.input_names: tuple[str, ...] = tuple(binding.name for binding in self._bindings)
        self.has_labels = LABELS in self._extras
        self.notices = notices + found + label_notices(arrays, used, self._count)
        batched = [i for b, i in zip(self._bindings, model_inputs, strict=True) if not b.shared]
        self.largest_batch: int | None = 1 if any(i.shape[0] == 1 for i in batched) else None
        self._check_labels()

    def __len__(self) -> int:
        """Number of samples."""
        return self._count

    def inputs(self, indices: Indices) -> dict[str, Array]:
        """See ``SampleSource.inputs``."""
        return {binding.name: binding.read(indices) for binding in self._bindings}

    def labels(self, indices: Indices) -> Array:
        """See ``SampleSource.labels``."""
        if not self.has_labels:
            raise DataError(f"The data has no array named '{LABELS}'.")
        rows = self._extras[LABELS].rows(indices)
        check_finite(rows, f"Array '{LABELS}'", indices)
        return rows

    def groups(self) -> Array | None:
        """See ``SampleSource.groups``."""
        rows = self._extras.get(GROUPS)
        if rows is None or not rows.shape or rows.shape[0] != self._count:
            return None
        return rows.rows(np.arange(self._count))

    def extras(self, indices: Indices) -> dict[str, Array]:
        """See ``SampleSource.extras``."""
        given: dict[str, Array] = {}
        for name, rows in self._extras.items():
            if name == LABELS:
                given[name] = self.labels(indices)
            elif rows.shape and rows.shape[0] == self._count:
                given[name] = rows.rows(indices)
            else:
                given[name] = rows.whole()
        given[SAMPLE_INDEX] = np.asarray(indices, dtype=np.int64)
        return given

    def close(self) -> None:
        """See ``SampleSource.close``."""
        for rows in self._arrays.values():
            rows.close()

    def _check_labels(self) -> None:
        if not self.has_labels:
            return
        rows = self._extras[LABELS]
        if not rows.shape or rows.shape[0] != self._count:
            found = rows.shape[0] if rows.shape else "one"
            raise DataError(f"Array '{LABELS}' holds {found} labels for {self._count} samples.")
        if rows.dtype.kind not in "fiub":
            raise DataError(f"Array '{LABELS}' holds {rows.dtype}; labels must be numbers.")
