"""A metric of the user's own: ``function(outputs, data)``.

``outputs`` maps output names to arrays over all samples in order; ``data`` holds the labels, every array that is no
model input, and ``sample_index``.  It returns one score per sample, shape (n,), or one number for the set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from autocompress.data.function import import_function
from autocompress.errors import MetricError
from autocompress.evaluate.metrics.metric import FloatArray

Function = Callable[[Mapping[str, npt.NDArray[Any]], Mapping[str, npt.NDArray[Any]]], Any]


@dataclass(frozen=True)
class UserMetric:
    """A metric given as a function; it travels to other processes by its reference where it has one.

    Attributes:
        name: the reference, or the function's own name.
        reference: ``module.path:function``, or None for a function given from Python.
        higher_is_better: False when the function has ``lower_is_better = True``.
        is_fraction: True, so that 1 % means 0.01 in the metric's own unit.
        needs_labels: False: what the function needs is its own affair.
        per_sample: None: what the function returns tells.
    """

    name: str
    reference: str | None
    higher_is_better: bool
    function: Function | None = field(default=None, repr=False, compare=False)
    is_fraction: bool = True
    needs_labels: bool = False
    per_sample: None = None
    continuous: bool = False
    outputs: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()

    def __getstate__(self) -> dict[str, Any]:
        """Without the function where it can be imported again."""
        return {**self.__dict__, "function": None if self.reference else self.function}

    @property
    def description(self) -> str:
        """For reports."""
        return f"{self.name} (own function)"

    def __call__(
        self, outputs: Mapping[str, npt.NDArray[Any]], data: Mapping[str, npt.NDArray[Any]], n: int
    ) -> FloatArray | float:
        """Scores of shape (n,), or one number.

        Raises:
            MetricError: when the function raises, or returns anything else, or NaN or Inf.
        """
        function = self.function or import_function(str(self.reference), MetricError)
        try:
            returned = np.asarray(function(outputs, data))
        except KeyError as error:
            raise MetricError(
                f"The metric {self.name} asks for {error}, but outputs are {', '.join(outputs)} and data holds "
                f"{', '.join(data)}."
            ) from error
        except (Exception, SystemExit) as error:  # the user's function may raise anything
            raise MetricError(f"The metric {self.name} raised {type(error).__name__}: {error}.") from error
        return self._checked(returned, n)

    def _checked(self, returned: npt.NDArray[Any], n: int) -> FloatArray | float:
        if returned.dtype.kind not in "fiub":
            raise MetricError(f"The metric {self.name} returned {returned.dtype}, not numbers.")
        if returned.ndim and (returned.size != n or len(returned) != n):
            raise MetricError(
                f"The metric {self.name} returned an array of shape {returned.shape}: return one score for each of "
                f"the {n} samples, or one number."
            )
        values = returned.astype(np.float64)
        if not np.isfinite(values).all():
            where = "" if not returned.ndim else f" at position {int(np.argmax(~np.isfinite(values.reshape(-1))))}"
            raise MetricError(f"The metric {self.name} returned {'NaN' if np.isnan(values).any() else 'Inf'}{where}.")
        return values.reshape(n) if returned.ndim else float(values)


def user_metric(function: str | Function) -> UserMetric:
    """Wraps ``module.path:function`` or a function.

    Raises:
        MetricError: when it cannot be imported or called.
    """
    if isinstance(function, str):
        found = import_function(function, MetricError)
        return UserMetric(function, function, not getattr(found, "lower_is_better", False), found)
    if not callable(function):
        raise MetricError(f"A metric must be a name or a function, not {type(function).__name__}.")
    name = getattr(function, "__name__", type(function).__name__)
    return UserMetric(name, None, not getattr(function, "lower_is_better", False), function)
