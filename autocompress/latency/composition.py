"""From operators to a model.

    T = sum over kinds of scale[kind] * sum of t_op of that kind + per_node * nodes + per_model
        + per_mbyte * cold weights + sum over arithmetics of per_activation_mbyte[arithmetic] * activations[arithmetic]

``t_op`` are times of operators alone, at their fastest.  A whole model is slower: each node starts on cold
instructions (``per_node``) and on activations that another node wrote (``per_activation_mbyte``), weights beyond what
the caches hold come from memory on every run (``per_mbyte``), a run has a cost of its own (``per_model``), and how much
more an operator takes among others depends on its kind.  The terms are fitted on whole models in quiet moments, by
Huber's loss on relative errors, with no negative term and with scales that stay near one unless the models insist, and
then raised to ordinary moments.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from autocompress.errors import TableError
from autocompress.graph.signature import OpSignature
from autocompress.latency.families import family_of
from autocompress.latency.roofline import is_integer
from autocompress.runtimes.work import convolution_kernel, multiply_adds, tensor_bytes, weight_bytes

FloatArray = npt.NDArray[np.float64]
KINDS = (
    "conv_float", "conv_int8", "product_float", "product_int8", "conversion", "movement", "elementwise_float",
    "elementwise_int8",
)  # fmt: skip
ARITHMETICS = ("float", "int8")
ORDINARY = 1.02  # a model is observed in the quietest of several moments and later judged in an ordinary one
_CACHED_MBYTES = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0)
_FEWEST_TO_FIT = 12
_LOYALTY = 0.3  # weight of scale = 1, in models
_HUBER = 0.02  # relative errors beyond it count in proportion, not squared
_REWEIGHTINGS = 12
_MOVING = frozenset({"layout", "movement", "view"})


@dataclass(frozen=True)
class Composition:
    """Fitted terms; the defaults are for a device nobody fitted.

    Attributes:
        scales: kind of operator -> factor on its time.
        per_node_us: microseconds per executed node.
        per_model_us: microseconds per run.
        per_mbyte_us: microseconds per megabyte of cold weights.
        per_activation_mbyte_us: "float" or "int8" -> microseconds per megabyte of activations read and written.
        cached_mbytes: megabytes of weights that stay close to the processor.
        relative_error90: of models that the fit did not see, 9 in 10 are no further off.
        models: whole models that the terms were fitted on.
    """

    scales: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(KINDS, 1.03))
    per_node_us: float = 1.0
    per_model_us: float = 5.0
    per_mbyte_us: float = 20.0
    per_activation_mbyte_us: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(ARITHMETICS, 3.0))
    cached_mbytes: float = 1.0
    relative_error90: float = 0.15
    models: int = 0

    def scale(self, signature: OpSignature) -> float:
        """Factor on the time of one operator."""
        return self.scales.get(kind_of(signature), 1.0)

    def fixed_us(self, signature: OpSignature) -> float:
        """What one operator pays for being a node and for activations that are not at hand, in microseconds."""
        return self.per_node_us + activation_mbytes(signature) * self.per_activation_mbyte_us.get(
            arithmetic_of(signature), 0.0
        )

    def latency_us(self, work: ModelWork) -> float:
        """Time of a whole model."""
        return float(_columns([work], self.cached_mbytes)[0] @ self._terms())

    def _terms(self) -> FloatArray:
        scales = [self.scales.get(kind, 1.0) for kind in KINDS]
        moved = [self.per_activation_mbyte_us.get(arithmetic, 0.0) for arithmetic in ARITHMETICS]
        return np.asarray([*scales, self.per_node_us, self.per_model_us, self.per_mbyte_us, *moved])

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {name: _rounded(value) for name, value in asdict(self).items()}

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
    """One whole model that was timed.

    Attributes:
        family: architecture family; families are held out together when the fit is judged.
        operators_us: sum of its operators' times, when it was observed.
        nodes: executed nodes.
        streamed_mbytes: kind of operator -> megabytes of weights read per run.
        activation_mbytes: arithmetic -> megabytes of activations read and written per run.
        latency_us: median of a quiet moment.
        missing: nodes whose time was not measured but taken from others of their kind.
        operators: signature key -> how often the model executes it; empty where that was not recorded.
    """

    family: str
    operators_us: float
    nodes: int
    streamed_mbytes: Mapping[str, float]
    activation_mbytes: Mapping[str, float]
    latency_us: float
    missing: int = 0
    operators: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelWork:
    """What the composition sees of a model.

    Attributes:
        kind_us: kind of operator -> sum of their times alone.
        nodes: executed nodes.
        streamed_mbytes: megabytes of weights read per run.
        activation_mbytes: arithmetic -> megabytes of activations read and written per run.
    """

    kind_us: Mapping[str, float]
    nodes: int
    streamed_mbytes: float
    activation_mbytes: Mapping[str, float]


def model_work(operators: Iterable[tuple[OpSignature, float, int]]) -> ModelWork:
    """Adds up operators.

    Args:
        operators: signature, microseconds alone, how often.
    """
    kind_us, moved = dict.fromkeys(KINDS, 0.0), dict.fromkeys(ARITHMETICS, 0.0)
    nodes, streamed = 0, 0.0
    for signature, latency_us, count in operators:
        kind_us[kind_of(signature)] += count * latency_us
        moved[arithmetic_of(signature)] += count * activation_mbytes(signature)
        streamed += count * streamed_mbytes(signature)
        nodes += count
    return ModelWork(kind_us, nodes, streamed, moved)


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
    """Which of ``KINDS`` an operator is."""
    arithmetic = arithmetic_of(signature)
    if convolution_kernel(signature) is not None:
        return f"conv_{arithmetic}"
    if multiply_adds(signature):
        return f"product_{arithmetic}"
    family = family_of(signature)
    if family == "conversion":
        return family
    return "movement" if family in _MOVING else f"elementwise_{arithmetic}"


def cold_share(total_mbytes: float, cached_mbytes: float) -> float:
    """Share of a model's weights that are not in the caches when their turn comes."""
    return max(0.0, 1.0 - cached_mbytes / total_mbytes) if total_mbytes > 0 else 0.0


def fit_composition(models: Sequence[tuple[str, ModelWork, float]]) -> Composition:
    """Fits the terms; the error is that of leaving out one family after the other.

    Args:
        models: family, work, microseconds.  Fewer than twelve fit nothing: the defaults are returned.
    """
    if len(models) < _FEWEST_TO_FIT:
        return Composition()
    errors: list[float] = []
    for held in sorted({family for family, _, _ in models}):
        rest = [m for m in models if m[0] != held]
        if len(rest) >= _FEWEST_TO_FIT:
            fitted = _fit(rest)
            errors += [
                abs(fitted.latency_us(work) / (ORDINARY * us) - 1) for family, work, us in models if family == held
            ]
    error90 = float(np.quantile(errors, 0.9)) if errors else Composition.relative_error90
    return _fit(models, error90)


def fit_without(models: Sequence[tuple[str, ModelWork, float]], family: str) -> Composition:
    """The terms that models of other families give, for judging what is said of this one."""
    rest = [m for m in models if m[0] != family]
    return _fit(rest) if len(rest) >= _FEWEST_TO_FIT else Composition()


def _fit(models: Sequence[tuple[str, ModelWork, float]], error90: float = Composition.relative_error90) -> Composition:
    """Terms for ordinary moments, with the cache size that gives the smallest loss."""
    works, measured = [work for _, work, _ in models], np.asarray([us for _, _, us in models])
    fits = []
    for cached in _CACHED_MBYTES:
        terms, loss = _robust_fit(_columns(works, cached) / measured[:, None])
        fits.append((loss, cached, terms * ORDINARY))
    _, cached, terms = min(fits, key=lambda fit: fit[:2])
    per_node, per_model, per_mbyte, *moved = (float(t) for t in terms[len(KINDS) :])
    return Composition(
        scales=dict(zip(KINDS, terms[: len(KINDS)].tolist(), strict=True)),
        per_node_us=per_node,
        per_model_us=per_model,
        per_mbyte_us=per_mbyte,
        per_activation_mbyte_us=dict(zip(ARITHMETICS, moved, strict=True)),
        cached_mbytes=cached,
        relative_error90=error90,
        models=len(models),
    )


def _robust_fit(relative: FloatArray) -> tuple[FloatArray, float]:
    """Non-negative terms that make each row's sum 1, by Huber's loss: one odd model does not bend the rest.

    Iteratively reweighted least squares (Huber, "Robust Estimation of a Location Parameter", 1964), with scales drawn
    towards one as in ridge regression.
    """
    from scipy.optimize import nnls

    loyalty = np.sqrt(_LOYALTY) * np.eye(len(KINDS), relative.shape[1])
    wanted = np.full(len(KINDS), np.sqrt(_LOYALTY))
    weights = np.ones(len(relative))
    for _ in range(_REWEIGHTINGS):
        terms, _ = nnls(np.vstack([relative * weights[:, None], loyalty]), np.concatenate([weights, wanted]))
        errors = np.abs(relative @ terms - 1)
        weights = np.sqrt(np.minimum(1.0, _HUBER / np.maximum(errors, 1e-12)))
    loss = np.where(errors <= _HUBER, errors**2 / 2, _HUBER * (errors - _HUBER / 2)).sum()
    return np.asarray(terms, np.float64), float(loss)


def _columns(works: Sequence[ModelWork], cached: float) -> FloatArray:
    rows = []
    for work in works:
        cold = cold_share(work.streamed_mbytes, cached) * work.streamed_mbytes
        moved = [work.activation_mbytes.get(arithmetic, 0.0) for arithmetic in ARITHMETICS]
        rows.append([*(work.kind_us.get(kind, 0.0) for kind in KINDS), work.nodes, 1.0, cold, *moved])
    return np.asarray(rows, np.float64)


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _rounded(item) for name, item in value.items()}
    return float(f"{value:.5g}") if isinstance(value, float) else value
