"""Baselines "FLOPs" and "FLOPs + bytes": linear in the work of a model, fitted on the zoo's whole models.

Float and 8-bit work have slopes of their own, which is more than is usual and spares these baselines the blame for
quantized models.  Relative errors are minimized, with no negative slope.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from latency_measuring.kept import KeptRows
from latency_measuring.settings import Setting
from latency_models.digests import digest, package_sources

from autocompress.api.zoo_forms import zoo_quantizer
from autocompress.errors import AutocompressError
from autocompress.latency.composition import activation_mbytes, streamed_mbytes
from autocompress.latency.roofline import is_integer
from autocompress.latency.zoo.catalogue import architectures
from autocompress.latency.zoo.variant import variants_for
from autocompress.progress import Progress
from autocompress.runtimes.protocol import ExecutedOp
from autocompress.runtimes.work import multiply_adds

FLOPS, FLOPS_BYTES = "flops", "flops_bytes"
_FEWEST = 8


@dataclass(frozen=True)
class Work:
    """The work of one model.

    Attributes:
        float_gmacs: thousand million float multiply-adds.
        int8_gmacs: thousand million 8-bit multiply-adds.
        float_mbytes: megabytes of weights and activations that float operators read and write.
        int8_mbytes: the same of 8-bit operators.
    """

    float_gmacs: float
    int8_gmacs: float
    float_mbytes: float
    int8_mbytes: float


def work_of(ops: Sequence[ExecutedOp]) -> Work:
    """Adds up the executed operators of a model."""
    gmacs, mbytes = [0.0, 0.0], [0.0, 0.0]
    for op in ops:
        which = int(is_integer(op.signature))
        gmacs[which] += multiply_adds(op.signature) / 1e9
        mbytes[which] += streamed_mbytes(op.signature) + activation_mbytes(op.signature)
    return Work(gmacs[0], gmacs[1], mbytes[0], mbytes[1])


class LinearModel:
    """Milliseconds as a linear function of work.

    Args:
        observed: (work, milliseconds) of models to fit on.
        with_bytes: whether bytes count too.
    """

    def __init__(self, observed: Sequence[tuple[Work, float]], *, with_bytes: bool) -> None:
        from scipy.optimize import nnls

        self._with_bytes = with_bytes
        latency_ms = np.asarray([ms for _, ms in observed])
        columns = np.asarray([self._columns(work) for work, _ in observed])
        self.slopes, _ = nnls(columns / latency_ms[:, None], np.ones(len(observed)))

    def predict_ms(self, work: Work) -> float:
        """Milliseconds of one model."""
        return float(np.asarray(self._columns(work)) @ self.slopes)

    def _columns(self, work: Work) -> list[float]:
        sizes = [work.float_mbytes, work.int8_mbytes] if self._with_bytes else []
        return [1.0, work.float_gmacs, work.int8_gmacs, *sizes]


def fit_linear(
    setting: Setting, kept: KeptRows, progress: Progress, *, most: int | None = None
) -> dict[str, LinearModel]:
    """Method -> model, fitted on the whole zoo models in the table; empty where those are too few.

    Args:
        setting: with the frozen table.
        kept: where the work of zoo models is kept.
        progress: told about each model that is counted.
        most: use about so many of them; None for all.
    """
    observed = setting.table.models
    step = 1 if most is None else max(len(observed) // most, 1)
    work = zoo_work(setting, list(observed)[::step], kept, progress)
    pairs = [(work[name], model.latency_us / 1e3) for name, model in observed.items() if name in work]
    if len(pairs) < _FEWEST:
        return {}
    return {FLOPS: LinearModel(pairs, with_bytes=False), FLOPS_BYTES: LinearModel(pairs, with_bytes=True)}


def zoo_work(setting: Setting, names: Sequence[str], kept: KeptRows, progress: Progress) -> Mapping[str, Work]:
    """The work of zoo models called "architecture/variant", as the runtime executes them."""
    made_by = digest(setting.runtime.name, setting.runtime.version, package_sources("latency/zoo", "runtimes"))
    known = {row["model"]: Work(**row["work"]) for row in kept.rows if row["made_by"] == made_by and row["work"]}
    tried = {row["model"] for row in kept.rows if row["made_by"] == made_by}
    todo = [name for name in names if name not in tried]
    progress.stage(f"count the work of the zoo, {setting.runtime.name}", total=len(todo))
    for name in todo:
        found = _work_of_zoo_model(setting, name)
        if found is not None:
            known[name] = found
        kept.append({"model": name, "made_by": made_by, "work": None if found is None else asdict(found)})
        progress.advance()
    return known


def _work_of_zoo_model(setting: Setting, name: str) -> Work | None:
    """None for a model that this version of the zoo does not have, or that the runtime refuses."""
    architecture, _, variant = name.partition("/")
    described = {a.name: a for a in architectures()}.get(architecture)
    runtime = setting.runtime.name
    wanted = {v.name: v for v in variants_for(runtime, zoo_quantizer(runtime))}.get(variant)
    if described is None or wanted is None:
        return None
    try:
        ops = setting.runtime.executed_ops(described.build(wanted), described.feeds(), threads=1, standalone=False)
    except AutocompressError:
        return None
    return work_of(ops)


def kept_zoo_work(folder: Path, setting: Setting) -> KeptRows:
    """Where the work of zoo models is kept; threads make no difference to it."""
    return KeptRows(folder / f"zoo-{setting.runtime.name}.jsonl")
