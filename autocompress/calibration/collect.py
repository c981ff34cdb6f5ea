"""One pass of a model over samples, and what every tensor held meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np

from autocompress.calibration.histogram import Scratch
from autocompress.calibration.observer import TensorObserver
from autocompress.calibration.outputs import ActivationSessions
from autocompress.calibration.statistics import Statistics, TensorStatistics
from autocompress.errors import ConfigError, DataError, ModelError
from autocompress.runtimes.protocol import Array, Feeds

Progress = Callable[[int, int], None]

MAX_ACTIVATION_BYTES = 512 << 20


class InputSource(Protocol):
    """Where samples come from; ``autocompress.data.samples.SampleSource`` is one."""

    def inputs(self, indices: Sequence[int]) -> Feeds:
        """Model inputs of the named samples, by input name."""
        ...


def collect(
    sessions: ActivationSessions,
    source: InputSource,
    indices: Sequence[int],
    tensors: Sequence[str],
    *,
    batch_size: int = 1,
    channel_axes: Mapping[str, int] | None = None,
    max_activation_bytes: int = MAX_ACTIVATION_BYTES,
    progress: Progress | None = None,
) -> Statistics:
    """Statistics of ``tensors`` over the samples ``indices``.

    Memory is bounded by one batch of activations, whatever the number of samples.  Where one batch of all tensors
    would exceed ``max_activation_bytes``, the model is run over the samples once for each of several groups of them.

    Args:
        sessions: opens the model with inner tensors as outputs.
        source: gives the model inputs.
        indices: which samples.
        tensors: names of floating-point tensors; model inputs are allowed and are taken from the source.
        batch_size: samples per run.
        channel_axes: tensor name -> channel axis; others follow their neighbouring operators, else their rank:
            the last axis for three dimensions (batch, length, features), axis 1 otherwise.
        max_activation_bytes: bound on the tensors that one run returns.
        progress: is called with (sample runs done, sample runs in all) after each batch.

    Raises:
        DataError: when there are no samples, or a tensor holds NaN or Inf.
        ModelError: when a tensor does not exist or is not floating-point.
        RuntimeFailure: when the runtime fails.
    """
    if batch_size < 1:
        raise ConfigError(f"the calibration batch size must be at least 1, not {batch_size}")
    if len(indices) == 0:
        raise DataError("calibration needs at least one sample; give data")
    wanted = list(dict.fromkeys(tensors))
    fed = [name for name in wanted if name in sessions.input_names]
    computed = [name for name in wanted if name not in sessions.input_names]
    observers = _Observers({**sessions.channel_axes(), **(channel_axes or {})})
    shapes = {name: array.shape for name, array in source.inputs(indices[:batch_size]).items()}
    groups = sessions.groups(computed, shapes, max_activation_bytes) if computed else []
    runs = max(len(groups), 1) * len(indices)
    done = 0
    for position, group in enumerate(groups or [()]):
        session = sessions.open(group) if group else None
        for chosen in _batches(indices, batch_size):
            feeds = source.inputs(chosen)
            if position == 0:
                observers.update({name: _fed(feeds, name) for name in fed}, len(chosen))
            if session is not None:
                observers.update(session.run(feeds), len(chosen))
            done += len(chosen)
            if progress is not None:
                progress(done, runs)
        # Freed before the next one is loaded: only one copy of the weights is in memory.
        del session
    return Statistics({name: observers.statistics(name) for name in wanted}, len(indices))


class _Observers:
    """One observer per tensor, made when the tensor is first seen, all sharing one scratch memory."""

    def __init__(self, axes: Mapping[str, int]) -> None:
        self._axes = axes
        self._scratch = Scratch()
        self._observers: dict[str, TensorObserver] = {}

    def update(self, arrays: dict[str, Array], samples: int) -> None:
        """Takes in one batch; each array is released as soon as it has been read."""
        while arrays:
            # In graph order: where NaN spreads, the first tensor that has it is named.
            name = next(iter(arrays))
            array = arrays.pop(name)
            if not np.issubdtype(array.dtype, np.floating):
                raise ModelError(f"tensor {name!r} is {array.dtype}; only floating-point tensors are calibrated")
            if name not in self._observers:
                axis = self._axes.get(name, -1 if array.ndim == 3 else 1)
                self._observers[name] = TensorObserver(name, axis, self._scratch)
            self._observers[name].update(array, samples)
            del array

    def statistics(self, name: str) -> TensorStatistics:
        """The statistics of one tensor."""
        return self._observers[name].statistics()


def _batches(indices: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(indices), size):
        yield indices[start : start + size]


def _fed(feeds: Feeds, name: str) -> Array:
    if name not in feeds:
        raise DataError(f"the data lacks the model input {name!r}; add an array of that name")
    return feeds[name]
