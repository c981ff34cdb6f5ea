"""Fills a device's table from the zoo: operators for the forests, whole models for the composition."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from autocompress.errors import CandidateFailed, RuntimeFailure
from autocompress.latency.bench import Bench
from autocompress.latency.journal import TableFile
from autocompress.latency.surveyor import LocalSurveyor, Surveyor, model_name
from autocompress.latency.table import LatencyTable
from autocompress.latency.zoo.catalogue import Architecture, zoo_models
from autocompress.latency.zoo.variant import Variant
from autocompress.progress import NullProgress, Progress
from autocompress.runtimes.protocol import Runtime


@dataclass(frozen=True)
class SurveyOutcome:
    """What a survey did.

    Attributes:
        table: the table with everything measured so far.
        measured: operators measured now.
        invalid: operators among them whose times must not be used.
        left: models of the zoo that it did not reach.
        seconds: wall time.
        refusal: why it ended early, or did not begin, though time was left: the device was disturbed; None otherwise.
    """

    table: LatencyTable
    measured: int
    invalid: int
    left: int
    seconds: float
    refusal: str | None = None


def survey(
    runtime: Runtime,
    file: TableFile,
    *,
    threads: int = 1,
    budget_s: float | None = None,
    again: bool = False,
    progress: Progress | None = None,
    models: Iterable[tuple[Architecture, Variant]] | None = None,
    surveyor: Surveyor | None = None,
) -> SurveyOutcome:
    """Times the operators and the whole models of the zoo that are not there yet; interrupt and repeat at will.

    Args:
        runtime: what executes them.
        file: the table to fill.
        threads: intra-op threads.
        budget_s: wall seconds after which no further model is begun; None for no limit.
        again: whether to measure again what is there already; of two times the faster counts.
        progress: told about each model.
        models: architectures and variants; when left out, what of the zoo needs no quantizer (see ``zoo_models``).
        surveyor: what times the models into the same file; in this process when left out.

    Raises:
        TableError: when the table is damaged.
        StorageError: when it cannot be written.
    """
    progress = progress or NullProgress()
    start = time.perf_counter()
    known = file.load().models
    wanted = deque(models if models is not None else zoo_models(runtime.name))
    surveyor = surveyor or LocalSurveyor(Bench(runtime, file, threads=threads))
    progress.stage("survey the zoo", total=len(wanted), limit_s=budget_s)
    measured = invalid = 0
    refusal = surveyor.begin()
    while wanted and refusal is None and (budget_s is None or time.perf_counter() - start < budget_s):
        name = model_name(*(model := wanted.popleft()))
        if again or name not in known:
            try:
                step = surveyor.time_zoo_model(*model, again=again)
                measured, invalid, refusal = measured + step.measured, invalid + step.invalid, step.refusal
            except (RuntimeFailure, CandidateFailed) as error:
                progress.notice(f"{name} left out of the survey: {error}")
        progress.advance()
        progress.detail(f"{measured:,} operators, {measured / (time.perf_counter() - start):.1f} per second")
    return SurveyOutcome(file.compact(), measured, invalid, len(wanted), time.perf_counter() - start, refusal)
