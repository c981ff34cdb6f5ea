"""From operators to a model.

    T = scale * sum(t_op) + per_node * nodes + per_mbyte * (cold weights) + per_model

``t_op`` are times of operators alone, at their fastest.  A whole model is slower: each node starts on cold
instructions and on activations that another node wrote (``per_node``), weights beyond what the caches hold come from
memory on every run (``per_mbyte``), and a run has a cost of its own (``per_model``).  The terms are fitted on the
fastest runs of whole models, by least squares on relative errors, with no negative term, and then raised by what the
usual run takes above the fastest on a machine with little else to do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from autocompress.errors import TableError
from autocompress.graph.signature import OpSignature
from autocompress.runtimes.work import multiply_adds, weight_bytes

FloatArray = npt.NDArray[np.float64]
_CACHED_MBYTES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
_COVERAGE = 0.9
_USUAL = 1.02  # median over minimum of repeated runs on a quiet machine


@dataclass(frozen=True)
class Composition:
    """Fitted terms; the defaults are for a device nobody fitted.

    Attributes:
        scale: factor on the sum of operators.
        per_node_us: microseconds per executed node.
        per_model_us: microseconds per run.
        per_mbyte_us: microseconds per megabyte of weights beyond ``cached_mbytes``.
        cached_mbytes: megabytes of weights that stay close to the processor.
        relative_error90: 9 of 10 models that the fit did not see are at most this far off, relatively.
        models: whole models that the terms were fitted on.
    """

    scale: float = 1.03
    per_node_us: float = 1.0
    per_model_us: float = 5.0
    per_mbyte_us: float = 30.0
    cached_mbytes: float = 4.0
    relative_error90: float = 0.15
    models: int = 0

    def cold_mbytes(self, signatures: Sequence[OpSignature]) -> float:
        """Megabytes of weights that come from memory on every run."""
        return max(0.0, sum(streamed_mbytes(s) for s in signatures) - self.cached_mbytes)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {name: float(f"{v:.4g}") if isinstance(v, float) else v for name, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Composition:
        """Inverse of ``to_dict``.

        Raises:
            TableError: when it is malformed.
        """
        try:
            return cls(**row)
        except TypeError as error:
            raise TableError(
                f"the composition terms of predictors are malformed ({error}); train them again"
            ) from error


@dataclass(frozen=True)
class ObservedModel:
    """One whole model, for the fit.

    Attributes:
        family: architecture family; families are held out together when the fit is judged.
        operators_us: sum of its operators' times.
        nodes: executed nodes.
        streamed_mbytes: megabytes of weights read per run.
        latency_us: its fastest run.
        missing: nodes whose time was not measured but taken from others of their kind.
    """

    family: str
    operators_us: float
    nodes: int
    streamed_mbytes: float
    latency_us: float
    missing: int = 0


def streamed_mbytes(signature: OpSignature) -> float:
    """Megabytes of weights that an operator reads through; a table that is only looked up does not count."""
    return weight_bytes(signature) / 1e6 if multiply_adds(signature) else 0.0


def fit_composition(models: Sequence[ObservedModel]) -> Composition:
    """Fits the terms; the error is that of leaving out one family after the other."""
    fitted, cached = _best_fit(models)
    families = sorted({m.family for m in models})
    errors = []
    for held in families:
        rest = [m for m in models if m.family != held]
        if len(rest) < 6:
            continue
        terms, size = _best_fit(rest)
        for m in (m for m in models if m.family == held):
            errors.append(abs(float(_columns([m], size)[0] @ terms) / m.latency_us - 1))
    error90 = float(np.quantile(errors, _COVERAGE)) if errors else Composition.relative_error90
    scale, per_node, per_model, per_mbyte = (float(t) * _USUAL for t in fitted)
    return Composition(scale, per_node, per_model, per_mbyte, cached, error90, len(models))


def _best_fit(models: Sequence[ObservedModel]) -> tuple[FloatArray, float]:
    """Terms and the cache size that goes with them, by the smallest relative residual."""
    from scipy.optimize import nnls

    measured = np.asarray([m.latency_us for m in models])
    best: tuple[float, FloatArray, float] | None = None
    for cached in _CACHED_MBYTES:
        columns = _columns(models, cached) / measured[:, None]
        terms, residual = nnls(columns, np.ones(len(models)))
        if best is None or residual < best[0]:
            best = (float(residual), terms, cached)
    assert best is not None
    return best[1], best[2]


def _columns(models: Sequence[ObservedModel], cached: float) -> FloatArray:
    return np.asarray(
        [[m.operators_us, m.nodes, 1.0, max(0.0, m.streamed_mbytes - cached)] for m in models], np.float64
    )
