"""How good latency estimates are, on models that the table and the forests have never seen.

    python benchmarks/latency_accuracy.py --work FOLDER [--runtime onnxruntime,openvino] [--threads 1,2]
        [--sets A,B,C] [--quick] [--models FOLDER] [--out results.json] [--markdown]

Test set A: whole families that the table does not know.  B: other depths, widths and resolutions of families it knows.
C: compressed candidates of one model (int8, dynamic, mixed, pruned).  A and B are timed as float, int8, mixed and
pruned models.

Table and forests are frozen by hash before anything is timed, and the benchmark refuses to go on if one changes.  All
models are timed in one round, then all again in another order; what two rounds differ by is the noise floor that stands
beside each score.  The same data judge seven other methods.  Everything slow is kept in the work folder: a run that was
interrupted goes on where it stopped, and ``--prepare`` does beforehand all that needs no quiet machine.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latency_measuring.executed import ExecutedGraphs
from latency_measuring.frozen import Frozen
from latency_measuring.kept import KeptRows
from latency_measuring.options import parsed, real_models
from latency_measuring.profiles import RawProfiles
from latency_measuring.settings import Setting, open_setting
from latency_measuring.truth import TimedModel, Truth
from latency_models.catalogue import Form, wanted_forms
from latency_models.digests import package_sources
from latency_models.workshop import Workshop
from latency_scoring.judged import Judged, Prediction
from latency_scoring.linear import fit_linear, kept_zoo_work, work_of
from latency_scoring.nn_meter import NN_METER, NnMeter
from latency_scoring.ours import anchorable, estimators, price_sources
from latency_scoring.report import scores
from latency_scoring.targets import targets
from latency_scoring.text import as_markdown, as_terminal, tables
from results import provenance, write_json

from autocompress.cli.progress import progress_on_stderr
from autocompress.errors import AutocompressError, ConfigError
from autocompress.progress import Progress
from autocompress.runtimes.protocol import ExecutedOp

_QUICK_ZOO = 40  # models that the linear baselines are fitted on


@dataclass
class TestSet:
    """Everything to be timed.

    Attributes:
        forms: key -> form.
        models: one per form and setting; forms that a runtime cannot have are left out.
        ops: identity -> what is executed.
        problems: sentences about what was left out, and why.
    """

    forms: dict[str, Form]
    models: list[TimedModel]
    ops: dict[str, list[ExecutedOp]]
    problems: list[str]


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepares, times, judges, prints; returns 2 when something given cannot be used."""
    options = parsed(arguments, __doc__ or "")
    try:
        with progress_on_stderr(quiet=options.quiet) as progress:
            document = run(options, progress)
    except AutocompressError as error:
        print(f"latency_accuracy: {error}", file=sys.stderr)
        return error.exit_code
    if document is None:
        return 0
    show = as_markdown if options.markdown else as_terminal
    for heading, table in tables(document, models=not options.markdown):
        print(show(heading, table))
    for problem in document["problems"]:
        print(problem)
    return 0


def run(options: argparse.Namespace, progress: Progress) -> dict[str, Any] | None:
    """The benchmark; None after ``--prepare``.

    Raises:
        AutocompressError: when tables, models or options cannot be used, or a frozen file changes.
    """
    settings = [
        open_setting(runtime, threads, options.tables, options.predictors)
        for runtime in options.runtime
        for threads in options.threads
    ]
    frozen = {s.slug: Frozen(s.files) for s in settings}
    test_set = _test_set(settings, options, progress)
    most = _QUICK_ZOO if options.quick else None
    linear = {s.slug: fit_linear(s, kept_zoo_work(options.work, s), progress, most=most) for s in settings}
    if options.prepare:
        for problem in test_set.problems:
            progress.notice(problem)
        return None
    profiles = RawProfiles(KeptRows(options.work / "profiles.jsonl"), seconds=options.seconds / 4)
    kept = {
        slug: KeptRows(options.work / f"truth-{slug}-{'any' if options.reuse_truth else files.digest}.jsonl")
        for slug, files in frozen.items()
    }
    truth = Truth(kept, seconds=options.seconds)
    for number in range(1, options.rounds + 1):
        _check(frozen)
        truth.measure_round(test_set.models, number, progress)
        if number == 1:
            profiles.measure(test_set.models, progress)
    truth.measure_unsure(test_set.models, progress)
    _check(frozen)
    judged = []
    for setting in settings:
        judged += _judge(setting, test_set, truth, profiles, linear[setting.slug], options.work)
    _check(frozen)
    document = _document(options, frozen, settings, test_set, judged)
    document["slowdown_as_rounds_began"] = truth.slowdowns
    if options.out is not None:
        write_json(options.out, document)
    return document


def _test_set(settings: Sequence[Setting], options: argparse.Namespace, progress: Progress) -> TestSet:
    """Builds what is not built yet and reads what each runtime makes of it."""
    real = real_models(options.models)
    forms = wanted_forms(options.sets, quick=options.quick, real_models=list(real), only=options.only)
    if not forms:
        raise ConfigError(f"no model of the sets {','.join(options.sets)} is called {' or '.join(options.only)}")
    workshop = Workshop(options.work, real, options.shapes)
    graphs = {s.slug: ExecutedGraphs(options.work, s) for s in settings}
    found = TestSet({f.key: f for f in forms}, [], {}, [])
    progress.stage("prepare the test set", total=len(forms) * len(settings))
    for form in forms:
        for setting in settings:
            try:
                model = TimedModel(form.key, setting, workshop.form(form, setting.runtime.name))
                found.ops[model.identity] = graphs[setting.slug].ops(model.path)
                found.models.append(model)
            except ConfigError:
                raise
            except AutocompressError as error:
                found.problems.append(f"{form.key} ({setting.name}) left out: {error}")
            progress.advance()
    return found


def _judge(
    setting: Setting, test_set: TestSet, truth: Truth, profiles: RawProfiles, linear: Mapping[str, Any], work: Path
) -> list[Judged]:
    """All methods on all models of one setting."""
    models = [m for m in test_set.models if m.setting is setting]
    keys = frozenset(op.signature.key for m in models for op in test_set.ops[m.identity])
    methods = estimators(setting, keys, work)
    ours = next(iter(methods.values()))
    nn_meter = NnMeter(setting.table)
    judged = []
    for model in models:
        truth_ms, ops = truth.latency_ms(model), test_set.ops[model.identity]
        if truth_ms is None:
            test_set.problems.append(f"{model.key} ({setting.name}) left out: {truth.failure(model)}")
            continue
        estimates = {name: estimator.estimate(ops) for name, estimator in methods.items()}
        said = {name: Prediction.of(estimate) for name, estimate in estimates.items()}
        said.update({name: Prediction(line.predict_ms(work_of(ops))) for name, line in linear.items()})
        said[NN_METER] = Prediction(nn_meter.predict_ms(ops))
        profiled_ms = profiles.sum_ms(model)
        if profiled_ms is not None:
            said["profile_sum"] = Prediction(profiled_ms)
        correctable = {name: found for name, e in methods.items() if (found := anchorable(e, ops)) is not None}
        form, rounds_ms, priced = test_set.forms[model.key], truth.rounds_ms(model), price_sources(ours, ops)
        judged.append(Judged(form, setting.name, rounds_ms, truth_ms, said, correctable, *priced))
    return judged


def _document(
    options: argparse.Namespace,
    frozen: Mapping[str, Frozen],
    settings: Sequence[Setting],
    test_set: TestSet,
    judged: Sequence[Judged],
) -> dict[str, Any]:
    found = scores(judged)
    return {
        **provenance("latency_accuracy"),
        "frozen": {name: value for files in frozen.values() for name, value in files.rows().items()},
        "frozen_before_measuring": not options.reuse_truth,
        "estimator_sources": package_sources("latency"),
        "settings": [s.name for s in settings],
        "runtime_versions": {s.runtime.name: s.runtime.version for s in settings},
        "sets": options.sets,
        "quick": options.quick,
        "rounds": options.rounds,
        "seconds_per_observation": options.seconds,
        "families_unseen": sorted({f.model for f in test_set.forms.values() if f.set == "A"}),
        "problems": test_set.problems,
        "targets": targets(found),
        "scores": found,
        "models": [m.to_row() for m in judged],
    }


def _check(frozen: Mapping[str, Frozen]) -> None:
    for files in frozen.values():
        files.check()


if __name__ == "__main__":
    raise SystemExit(main())
