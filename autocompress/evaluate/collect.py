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
                if count > 1:
                    raise MetricError(f"Output '{name}' {output.shape} is not split by samples: use a batch size of 1.")
                self._make_ragged(name)
                self.arrays[name][self._filled] = output
                continue
            if output.shape[1:] != self.arrays[name].shape[1:]:
                self._make_ragged(name)
            for k, row in enumerate(output) if self.arrays[name].dtype == object else ():
                self.arrays[name][self._filled + k] = row
            if self.arrays[name].dtype != object:
                self.arrays[name][self._filled : self._filled + count] = output
        self._filled += count

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
