"""Estimates: table first, forest second, bound last; composition, intervals, anchors."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from autocompress.errors import TableError
from autocompress.graph.signature import OpSignature, TensorType
from autocompress.latency.estimator import BOUND, FOREST, TABLE, LatencyEstimator
from autocompress.latency.families import family_of
from autocompress.latency.opening import open_latency
from autocompress.latency.predictor import CARD, Predictors, load_predictors
from autocompress.latency.profile import profile_ops
from autocompress.latency.roofline import Roofline
from autocompress.latency.survey import survey
from autocompress.latency.table import LatencyTable
from autocompress.latency.train import train_predictors
from autocompress.runtimes import get_runtime
from autocompress.runtimes.protocol import ExecutedOp
from autocompress.runtimes.replay import NominalDevice, ReplayRuntime
from autocompress.runtimes.timing import time_session

sys.path.append(str(Path(__file__).parent))
from zoo_parts import ARCHITECTURES, KINDS, corner, executed, feeds_of, table_file


@pytest.fixture(scope="module")
def surveyed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The table of a replayed survey of a corner of the zoo, with predictors beside it."""
    folder = tmp_path_factory.mktemp("survey")
    runtime = get_runtime("replay")
    file = table_file(folder, runtime)
    variants = ("fp32", "int8", "pruned", "pruned_int8")
    outcome = survey(runtime, file, models=corner(*variants))
    assert outcome.left == 0
    train_predictors(file.path, folder / "predictors", command="a test")
    return file.path


def estimator_of(path: Path, *, table: bool = True, predictors: bool = True) -> LatencyEstimator:
    return LatencyEstimator(
        LatencyTable.load(path) if table else None,
        load_predictors(path.parent / "predictors", path) if predictors else None,
    )


def replayed_ms(architecture: str, variant: str) -> float:
    built = ARCHITECTURES[architecture]
    session = get_runtime("replay").load(built.build(KINDS[variant]))
    return time_session(session, feeds_of(built)).latency_ms


@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_known_operators_come_from_the_table(surveyed: Path, variant: str) -> None:
    estimate = estimator_of(surveyed).estimate(executed("resnet_cifar", variant))
    assert estimate.coverage == 1.0
    assert estimate.latency_ms == pytest.approx(replayed_ms("resnet_cifar", variant), rel=0.05)
    assert estimate.interval90_ms.low < estimate.latency_ms < estimate.interval90_ms.high


def test_unknown_operators_come_from_the_forest(surveyed: Path) -> None:
    estimator = estimator_of(surveyed, table=False)
    ops = executed("resnet_cifar", "pruned")
    prices = estimator.price([op.signature for op in ops])
    kinds = {price.source for price in prices}
    assert FOREST in kinds
    assert TABLE not in kinds
    estimate = estimator.estimate(ops)
    assert estimate.coverage == 0.0
    assert estimate.nodes == len(ops)
    assert estimate.latency_ms == pytest.approx(replayed_ms("resnet_cifar", "pruned"), rel=0.3)


def test_what_nothing_knows_has_a_stated_bound_and_never_zero() -> None:
    odd = OpSignature("my.domain", "Strange", (TensorType("float32", (0,)),), (TensorType("float32", (0,)),))
    estimator = LatencyEstimator(None)
    (price,) = estimator.price([odd])
    assert price.source == BOUND
    assert 0 < price.low_us < price.latency_us < price.high_us
    op = ExecutedOp("strange", odd)
    assert estimator.unknown([op]) == [op]
    estimate = estimator.estimate([op])
    assert estimate.latency_ms > 0
    assert estimate.coverage == 0.0


def test_an_invalid_record_is_no_price(surveyed: Path, tmp_path: Path) -> None:
    runtime = get_runtime("replay")
    op = executed("mlp", "fp32")[0]
    broken = ExecutedOp(op.name, op.signature, standalone=None)
    table = profile_ops(runtime, [broken], table_file(tmp_path, runtime)).table
    (price,) = LatencyEstimator(table).price([op.signature])
    assert price.source == BOUND


def test_the_prices_of_the_operators_add_up_to_the_estimate(surveyed: Path) -> None:
    estimator = estimator_of(surveyed)
    ops = executed("context_net", "int8")
    prices = estimator.price([op.signature for op in ops])
    total = sum(p.latency_us for p in prices) + estimator.composition.per_model_us
    assert estimator.estimate(ops).latency_ms == pytest.approx(total / 1e3)
    rows = estimator.explain(ops)
    assert [r.price.latency_us for r in rows] == sorted((r.price.latency_us for r in rows), reverse=True)
    assert 0.5 < sum(r.share for r in rows) <= 1.0


def test_less_knowledge_widens_the_interval(surveyed: Path) -> None:
    ops = executed("resnet_cifar", "int8")

    def width(estimator: LatencyEstimator) -> float:
        estimate = estimator.estimate(ops)
        return (estimate.interval90_ms.high - estimate.interval90_ms.low) / estimate.latency_ms

    known = width(estimator_of(surveyed))
    predicted = width(estimator_of(surveyed, table=False))
    bounded = width(estimator_of(surveyed, table=False, predictors=False))
    assert known < predicted < bounded


def test_served_forests_say_what_scikit_learn_says(surveyed: Path) -> None:
    from autocompress.latency.forest import fit_family, records_by_family
    from autocompress.latency.operator_rows import OperatorRows

    table = LatencyTable.load(surveyed)
    predictors = load_predictors(surveyed.parent / "predictors", surveyed)
    family = "conv_dense_int8"
    known = records_by_family(table, predictors.roofline)[family]
    forest = fit_family(family, known.rows, known.latency_us, known.weights, seed=0)
    probes = [op.signature for op in executed("resnet_digits", "pruned_int8") if family_of(op.signature) == family]
    expected, _ = forest.predict(OperatorRows.of(probes, predictors.roofline))
    found = [p.latency_us for p in predictors.predict(probes) if p is not None]
    np.testing.assert_allclose(found, np.exp(expected), rtol=1e-5)


def test_training_twice_gives_the_same_bytes(surveyed: Path, tmp_path: Path) -> None:
    train_predictors(surveyed, tmp_path / "again", command="a test")
    first = {p.name: p.read_bytes() for p in (surveyed.parent / "predictors").iterdir()}
    assert first == {p.name: p.read_bytes() for p in (tmp_path / "again").iterdir()}


def test_predictors_belong_to_one_table(surveyed: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    table = LatencyTable.load(surveyed)
    LatencyTable(table.header, list(table)[1:]).save(other)
    with pytest.raises(TableError, match=r"were not trained on other\.jsonl"):
        load_predictors(surveyed.parent / "predictors", other)


def _edited(row: dict[str, object], **changes: object) -> dict[str, object]:
    return {**row, **changes}


CARD_DAMAGES = {
    "another format": (lambda c: _edited(c, format="x"), "holds no predictors"),
    "newer schema": (lambda c: _edited(c, schema=99), "newer than 2"),
    "older schema": (lambda c: _edited(c, schema=1), "of an older version"),
    "other features": (lambda c: _edited(c, features=["a"]), "other features"),
    "no constants": (lambda c: {k: v for k, v in c.items() if k != "constants"}, "lacks constants"),
    "bad composition": (lambda c: _edited(c, composition={"nonsense": 1}), "composition terms"),
    "bad intervals": (lambda c: _edited(c, intervals={"nonsense": 1}), "intervals of predictors are malformed"),
    "bad anchoring": (lambda c: _edited(c, anchoring={"table": {}}), "anchoring terms"),
    "bad constants": (lambda c: _edited(c, constants={"launch_us": 1}), "lacks the device's roofline constants"),
}


@pytest.mark.parametrize("damage", CARD_DAMAGES)
def test_a_damaged_card_is_refused(surveyed: Path, tmp_path: Path, damage: str) -> None:
    spoil, message = CARD_DAMAGES[damage]
    for file in (surveyed.parent / "predictors").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / CARD).write_text(json.dumps(spoil(json.loads((tmp_path / CARD).read_text()))))
    with pytest.raises(TableError, match=message):
        load_predictors(tmp_path)


def test_a_replaced_or_missing_forest_is_noticed(surveyed: Path, tmp_path: Path) -> None:
    for file in (surveyed.parent / "predictors").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    models = sorted(tmp_path.glob("*.onnx"))
    models[0].write_bytes(models[1].read_bytes())
    with pytest.raises(TableError, match="is not the file its card describes"):
        load_predictors(tmp_path)
    models[0].unlink()
    with pytest.raises(TableError, match=f"lack {models[0].name}"):
        load_predictors(tmp_path)


def test_a_survey_goes_on_where_it_stopped(tmp_path: Path) -> None:
    runtime = get_runtime("replay")
    file = table_file(tmp_path, runtime)
    stopped = survey(runtime, file, models=corner("fp32"), budget_s=0.0)
    assert stopped.left == len(corner("fp32"))
    first = survey(runtime, file, models=corner("fp32")[:2])
    assert len(first.table.models) == 2
    with file.path.with_name(f"{file.path.name}.journal").open("a") as journal:
        journal.write('{"model": "half a li')
    assert len(file.load().models) == 2
    whole = survey(runtime, file, models=corner("fp32"))
    assert len(whole.table.models) == len(corner("fp32")) == len(LatencyTable.load(file.path).models)
    assert all(model.missing == 0 for model in whole.table.models.values())


def test_opening_profiles_what_is_missing_into_the_users_own_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOCOMPRESS_CACHE", str(tmp_path))
    ops = executed("ds_cnn", "int8")
    source = open_latency(get_runtime("replay"))
    assert source.missing(ops) == len({op.signature.key for op in ops})
    assert any("no predictors" in notice for notice in source.notices)
    source.profile(ARCHITECTURES["ds_cnn"].build(KINDS["int8"]), feeds_of(ARCHITECTURES["ds_cnn"]))
    assert source.missing(ops) == 0
    assert source.estimator().estimate(ops).coverage == 1.0
    again = open_latency(get_runtime("replay"))
    assert again.missing(ops) == 0
    assert list((tmp_path / "latency_tables").glob("*replay*.jsonl"))


def test_a_forced_table_of_another_device_is_used_with_a_notice(
    surveyed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOCOMPRESS_CACHE", str(tmp_path / "cache"))
    forced = tmp_path / "forced.jsonl"
    lines = surveyed.read_text().replace('"runtime_version":"1"', '"runtime_version":"0.9"')
    forced.write_text(lines)
    source = open_latency(get_runtime("replay"), table=forced)
    assert any("runtime version is 1 here and 0.9 there" in notice for notice in source.notices)
    assert source.estimator().estimate(executed("mlp", "fp32")).coverage == 1.0


def test_many_models_at_once_are_estimated_as_one_by_one(surveyed: Path) -> None:
    models = [executed("resnet_cifar", "int8"), [], executed("ds_cnn", "pruned"), executed("mlp", "fp32")]
    for table in (True, False):
        together = estimator_of(surveyed, table=table).estimate_many(models)
        alone = [estimator_of(surveyed, table=table).estimate(ops) for ops in models]
        for one, other in zip(together, alone, strict=True):
            assert one.latency_ms == pytest.approx(other.latency_ms)
            assert one.interval90_ms.to_list() == pytest.approx(other.interval90_ms.to_list())
            assert (one.coverage, one.nodes) == (other.coverage, other.nodes)


def test_shares_of_a_candidate_add_up(surveyed: Path) -> None:
    found = estimator_of(surveyed).candidate(executed("resnet_cifar", "int8"))
    assert sum(found.shares.values()) == pytest.approx(1.0)
    assert found.shares["conv_int8"] > 0.5
    assert found.estimate == estimator_of(surveyed).estimate(executed("resnet_cifar", "int8"))


def test_two_thousand_estimates_of_known_operators_take_a_second(surveyed: Path) -> None:
    import time

    estimator = estimator_of(surveyed)
    ops = executed("resnet_cifar", "int8")
    estimator.estimate(ops)
    start = time.thread_time()
    for _ in range(200):
        estimator.estimate(ops)
    assert (time.thread_time() - start) / 200 < 0.5e-3


def test_forests_of_another_device_are_corrected_by_what_is_measured_here(surveyed: Path, tmp_path: Path) -> None:
    slow = ReplayRuntime(device=NominalDevice(20e9, 2.0, 5e9, 4e-6))
    known = profile_ops(slow, executed("ds_cnn", "fp32", slow), table_file(tmp_path, slow)).table
    here = load_predictors(surveyed.parent / "predictors", surveyed)
    there = here.transferred(Roofline.from_constants(known.header.constants), known)
    probes = [op.signature for op in executed("resnet_cifar", "pruned")]
    truth = np.asarray([1e6 * slow.device.seconds(s, 1) for s in probes])

    def log_error(predictors: Predictors) -> float:
        found = [p.latency_us if p else np.nan for p in predictors.predict(probes)]
        return float(np.nanmedian(np.abs(np.log(np.asarray(found) / truth))))

    assert log_error(there) < 0.3 < log_error(here)
    (one,), (other,) = here.predict(probes[:1]), there.predict(probes[:1])
    assert one is not None
    assert other is not None
    assert other.high_us / other.latency_us > one.high_us / one.latency_us
