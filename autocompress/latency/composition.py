"""From operators to a model.

    T = scale * sum(t_op) + per_node * nodes + per_model
        + sum over kinds of per_mbyte[kind] * cold weights[kind]
        + sum over arithmetics of per_activation_mbyte[arithmetic] * activations[arithmetic]

``t_op`` are times of operators alone, at their fastest.  A whole model is slower: each node starts on cold
instructions (``per_node``) and on activations that another node wrote (``per_activation_mbyte``), weights beyond what
the caches hold come from memory on every run (``per_mbyte``; some kernels hide more of that behind arithmetic than
others), and a run has a cost of its own (``per_model``).  The terms are fitted on whole models in quiet moments, by
Huber's loss on relative errors, with no negative term, and then raised to ordinary moments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from autocompress.errors import TableError
from autocompress.graph.signature import OpSignature
from autocompress.latency.roofline import is_integer
from autocompress.runtimes.work import convolution_kernel, multiply_adds, tensor_bytes, weight_bytes

FloatArray = npt.NDArray[np.float64]
KINDS = ("conv_float", "conv_int8", "product_float", "product_int8")
ARITHMETICS = ("float", "int8")
_CACHED_MBYTES = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0)
_COVERAGE = 0.9
_FEWEST_TO_FIT = 12
# A model is observed in the quietest of several moments and later judged in an ordinary one: by how much those differ,
# as a factor and as the half width of its 90 % interval.
_ORDINARY, _ORDINARY_ERROR90 = 1.02, 0.05
_HUBER = 0.02  # relative errors beyond it count in proportion, not squared
_REWEIGHTINGS = 12


@dataclass(frozen=True)
class Composition:
    """Fitted terms; the defaults are for a device nobody fitted.

    Attributes:
        scale: factor on the sum of operators.
        per_node_us: microseconds per executed node.
        per_model_us: microseconds per run.
        per_mbyte_us: kind of operator -> microseconds per megabyte of cold weights.
        per_activation_mbyte_us: "float" or "int8" -> microseconds per megabyte of activations read and written.
        cached_mbytes: megabytes of weights that stay close to the processor.
        relative_error90: of models that the fit did not see, judged in an ordinary moment, 9 in 10 are no further off.
        models: whole models that the terms were fitted on.
    """

    scale: float = 1.03
    per_node_us: float = 1.0
    per_model_us: float = 5.0
    per_mbyte_us: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(KINDS, 20.0))
    per_activation_mbyte_us: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(ARITHMETICS, 3.0))
    cached_mbytes: float = 1.0
    relative_error90: float = 0.15
    models: int = 0

    def memory_us(self, signatures: Sequence[OpSignature]) -> list[float]:
        """What each operator of a model pays for weights and activations that are not at hand, in microseconds."""
        sizes = [streamed_mbytes(s) for s in signatures]
        share = cold_share(sum(sizes), self.cached_mbytes)
        return [
            (share * size * self.per_mbyte_us.get(kind_of(signature), 0.0) if size else 0.0)
            + activation_mbytes(signature) * self.per_activation_mbyte_us.get(arithmetic_of(signature), 0.0)
            for signature, size in zip(signatures, sizes, strict=True)
        ]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        row = asdict(self)
        for name in ("per_mbyte_us", "per_activation_mbyte_us"):
            row[name] = {kind: float(f"{us:.4g}") for kind, us in row[name].items()}
        return {name: float(f"{v:.4g}") if isinstance(v, float) else v for name, v in row.items()}

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
        streamed_mbytes: kind of operator -> megabytes of weights read per run.
        activation_mbytes: arithmetic -> megabytes of activations read and written per run.
        latency_us: median of a quiet moment.
        missing: nodes whose time was not measured but taken from others of their kind.
    """

    family: str
    operators_us: float
    nodes: int
    streamed_mbytes: Mapping[str, float]
    activation_mbytes: Mapping[str, float]
    latency_us: float
    missing: int = 0


def streamed_mbytes(signature: OpSignature) -> float:
    """Megabytes of weights that an operator reads through; a table that is only looked up does not count."""
    return weight_bytes(signature) / 1e6 if multiply_adds(signature) else 0.0


def activation_mbytes(signature: OpSignature) -> float:
    """Megabytes of activations that an operator reads and writes."""
    operands = [t for t in (*signature.inputs, *signature.outputs) if t is not None and not t.constant]
    return sum(tensor_bytes(t) for t in operands) / 1e6


def arithmetic_of(signature: OpSignature) -> str:
    """Which of ``ARITHMETICS`` an operator computes in."""
    return "int8" if is_integer(signature) else "float"


def kind_of(signature: OpSignature) -> str:
    """Which of ``KINDS`` an operator with weights is."""
    shape = "product" if convolution_kernel(signature) is None else "conv"
    return f"{shape}_{arithmetic_of(signature)}"


def cold_share(total_mbytes: float, cached_mbytes: float) -> float:
    """Share of a model's weights that are not in the caches when their turn comes."""
    return max(0.0, 1.0 - cached_mbytes / total_mbytes) if total_mbytes > 0 else 0.0


def fit_composition(models: Sequence[ObservedModel]) -> Composition:
    """Fits the terms; the error is that of leaving out one family after the other."""
    terms, cached = _best_fit(models)
    errors = []
    for held in sorted({m.family for m in models}):
        rest = [m for m in models if m.family != held]
        if len(rest) < _FEWEST_TO_FIT:
            continue
        held_terms, held_cached = _best_fit(rest)
        tested = [m for m in models if m.family == held]
        predicted = _columns(tested, held_cached) @ held_terms
        errors += [abs(p / m.latency_us - 1) for p, m in zip(predicted, tested, strict=True)]
    error90 = float(np.quantile(errors, _COVERAGE)) if errors else Composition.relative_error90
    scale, per_node, per_model, *memory = (float(t) * _ORDINARY for t in terms)
    return Composition(
        scale=scale,
        per_node_us=per_node,
        per_model_us=per_model,
        per_mbyte_us=dict(zip(KINDS, memory[: len(KINDS)], strict=True)),
        per_activation_mbyte_us=dict(zip(ARITHMETICS, memory[len(KINDS) :], strict=True)),
        cached_mbytes=cached,
        relative_error90=float(np.hypot(error90, _ORDINARY_ERROR90)),
        models=len(models),
    )


def _best_fit(models: Sequence[ObservedModel]) -> tuple[FloatArray, float]:
    """Terms and the cache size that goes with them, by the smallest loss."""
    measured = np.asarray([m.latency_us for m in models])
    fits = []
    for cached in _CACHED_MBYTES:
        terms, loss = _robust_fit(_columns(models, cached) / measured[:, None])
        fits.append((loss, cached, terms))
    _, cached, terms = min(fits, key=lambda fit: fit[:2])
    return terms, cached


def _robust_fit(relative: FloatArray) -> tuple[FloatArray, float]:
    """Non-negative terms that make each row's sum 1, by Huber's loss: one odd model does not bend the rest.

    Iteratively reweighted least squares (Huber, "Robust Estimation of a Location Parameter", 1964).
    """
    from scipy.optimize import nnls

    weights = np.ones(len(relative))
    for _ in range(_REWEIGHTINGS):
        terms, _ = nnls(relative * weights[:, None], weights)
        errors = np.abs(relative @ terms - 1)
        weights = np.sqrt(np.minimum(1.0, _HUBER / np.maximum(errors, 1e-12)))
    loss = np.where(errors <= _HUBER, errors**2 / 2, _HUBER * (errors - _HUBER / 2)).sum()
    return np.asarray(terms, np.float64), float(loss)


def _columns(models: Sequence[ObservedModel], cached: float) -> FloatArray:
    rows = []
    for m in models:
        share = cold_share(sum(m.streamed_mbytes.values()), cached)
        weights = [share * m.streamed_mbytes.get(kind, 0.0) for kind in KINDS]
        activations = [m.activation_mbytes.get(arithmetic, 0.0) for arithmetic in ARITHMETICS]
        rows.append([m.operators_us, m.nodes, 1.0, *weights, *activations])
    return np.asarray(rows, np.float64)
