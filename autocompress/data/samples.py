"""What a set of samples looks like to the rest of the program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Indices = Sequence[int] | npt.NDArray[np.integer]

LABELS = "labels"
SAMPLE_INDEX = "sample_index"
GROUPS = "groups"


class ModelInputLike(Protocol):
    """Anything that describes one model input: a runtime's own description of its inputs fits."""

    @property
    def name(self) -> str:
        """Tensor name."""
        ...

    @property
    def dtype(self) -> str:
        """Numpy-style name."""
        ...

    @property
    def shape(self) -> tuple[int | str | None, ...]:
        """An int where fixed, a str or None where dynamic."""
        ...


@dataclass(frozen=True)
class ModelInput:
    """One input of the model that the samples are meant for.

    Attributes:
        name: tensor name.
        dtype: numpy-style name ("float32", "int64", ...).
        shape: an int where fixed, a str (symbolic name) or None where dynamic; () for a scalar.
    """

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]


@runtime_checkable
class SampleSource(Protocol):
    """Samples on disk, read a batch at a time; memory does not grow with their number.

    Attributes:
        input_names: names of the model's inputs, all of which ``inputs`` gives.
        has_labels: whether an array named ``labels`` is there.
        notices: sentences that a person should read (assumptions made, arrays ignored).
        largest_batch: the batch size that the model fixes (1), or None where it takes any.
    """

    input_names: tuple[str, ...]
    has_labels: bool
    notices: tuple[str, ...]
    largest_batch: int | None

    def __len__(self) -> int:
        """Number of samples."""
        ...

    def inputs(self, indices: Indices) -> dict[str, Array]:
        """Model inputs of the named samples: preprocessed, in the model's dtype, shape (len(indices), ...).

        Raises:
            DataError: when an array holds NaN or Inf, a value does not fit the model's dtype, or a file is unreadable.
        """
        ...

    def labels(self, indices: Indices) -> Array:
        """Labels of the named samples, shape (len(indices), ...).

        Raises:
            DataError: when there are none.
        """
        ...

    def groups(self) -> Array | None:
        """The array ``groups``, shape (number of samples,): equal for samples that belong together; None without."""
        ...

    def extras(self, indices: Indices) -> dict[str, Array]:
        """Every array that is no model input, labels included.

        Arrays whose first dimension equals the number of samples are sliced; others are given whole.
        ``sample_index`` holds the original index of each sample, so that whole arrays can be matched with it.
        """
        ...

    def close(self) -> None:
        """Closes the files."""
        ...
