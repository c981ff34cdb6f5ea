"""Outputs of all samples gathered for a metric that wants them at once; large ones lie on disk."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from autocompress.data.spool import cache_folder, ensure_room
from autocompress.errors import MetricError
from autocompress.evaluate.batches import stored_dtype

Values = npt.NDArray[Any]

IN_MEMORY_BYTES = 256 << 20


class OutputCollector:
    """Fills one array of shape (n, ...) per output.

    Outputs whose size differs between samples become arrays of n objects, one array each.

    Args:
        n: number of samples to come.
        in_memory_bytes: outputs of more than this in all are memory-mapped from a temporary folder.
    """

    def __init__(self, n: int, in_memory_bytes: int = IN_MEMORY_BYTES) -> None:
        self._n = n
        self._in_memory_bytes = in_memory_bytes
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._filled = 0
        self._unsplit_names: set[str] = set()
        self.arrays: dict[str, Values] = {}

    def add(self, outputs: Mapping[str, Values], count: int) -> None:
        """Appends the outputs of ``count`` samples.

        Raises:
            MetricError: when an output of several samples is not split along its first axis.
            DataError: when the disk is full.
        """
        if not self.arrays:
            self._allocate(outputs, count)
        for name, output in outputs.items():
            if not output.ndim or len(output) != count:
                self._unsplit(name, output, count)
            rows = output[np.newaxis] if name in self._unsplit_names else output
            if rows.shape[1:] != self.arrays[name].shape[1:]:
                self._make_ragged(name)
            if self.arrays[name].dtype == object:
                for k, row in enumerate(rows, start=self._filled):
                    self.arrays[name][k] = row
            else:
                self.arrays[name][self._filled : self._filled + count] = rows
        self._filled += count

    def _unsplit(self, name: str, output: Values, count: int) -> None:
        """From now on an output's first axis is not that of samples; so it was before, where it looked like one."""
        if count > 1:
            raise MetricError(f"Output '{name}' {output.shape} is not split by samples: use a batch size of 1.")
        if name not in self._unsplit_names:
            self._unsplit_names.add(name)
            self._make_ragged(name)
            for k in range(self._filled):
                self.arrays[name][k] = self.arrays[name][k][np.newaxis]

    def _allocate(self, outputs: Mapping[str, Values], count: int) -> None:
        shapes = {name: (self._n, *output.shape[1:]) for name, output in outputs.items()}
        dtypes = {name: stored_dtype(output.dtype) for name, output in outputs.items()}
        total = sum(math.prod(shapes[name]) * dtypes[name].itemsize for name in outputs)
        if total > self._in_memory_bytes:
            ensure_room(cache_folder(), total, "the outputs")
            self._folder = tempfile.TemporaryDirectory(
                prefix="outputs-", dir=cache_folder(), ignore_cleanup_errors=True
            )
        for k, name in enumerate(outputs):
            if self._folder is None:
                self.arrays[name] = np.empty(shapes[name], dtypes[name])
            else:
                path = Path(self._folder.name) / f"{k}.npy"
                self.arrays[name] = np.lib.format.open_memmap(path, "w+", dtypes[name], shapes[name])

    def _make_ragged(self, name: str) -> None:
        known = self.arrays[name]
        if known.dtype == object:
            return
        ragged = np.empty(self._n, dtype=object)
        for k in range(self._filled):
            ragged[k] = np.array(known[k])
        self.arrays[name] = ragged

    def __enter__(self) -> OutputCollector:
        """Starts collecting."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Drops the arrays and their files."""
        self.arrays = {}
        if self._folder is not None:
            self._folder.cleanup()
