"""Timing operators within their model: scaled to the model's own time, repeats merged, distrusted where it is off."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from autocompress.latency.device import usable_cores
from autocompress.latency.estimator import LatencyEstimator
from autocompress.latency.in_place import InPlaceTimer
from autocompress.latency.profile import new_header, profile_model
from autocompress.latency.roofline import measure_roofline
from autocompress.latency.survey import survey
from autocompress.latency.table import LatencyTable
from autocompress.runtimes import get_runtime
from autocompress.runtimes.protocol import Feeds, InPlaceRuntime, OpTime
from autocompress.runtimes.replay import NominalDevice
from autocompress.runtimes.work import multiply_adds

sys.path.append(str(Path(__file__).parent))
from in_place_replay import InPlaceReplay
from zoo_parts import ARCHITECTURES, KINDS, corner, feeds_of, table_file

RESNET = ARCHITECTURES["resnet_cifar"]
MODEL, FEEDS = RESNET.build(KINDS["int8"]), feeds_of(RESNET)


def true_us(runtime: InPlaceReplay, signature: object) -> float:
    return 1e6 * runtime.device.seconds(signature, 1)  # type: ignore[arg-type]


def test_runtimes_are_told_apart() -> None:
    assert isinstance(InPlaceReplay(), InPlaceRuntime)
    assert not isinstance(get_runtime("onnxruntime"), InPlaceRuntime)
    assert new_header(InPlaceReplay(), 1).method == "in place"
    assert new_header(get_runtime("onnxruntime"), 1).method == "slope"


@pytest.mark.parametrize("inflation", [0.9, 1.0, 1.1])
def test_an_account_that_is_off_by_a_factor_is_put_right_by_the_models_own_time(inflation: float) -> None:
    runtime = InPlaceReplay(inflation=inflation, device=NominalDevice(run_s=1e-3))
    timing = InPlaceTimer(runtime).time_model(MODEL, FEEDS)
    assert timing.valid
    assert timing.scale == pytest.approx(1 / inflation, rel=0.01)
    for record in timing.records:
        assert record.minimum_us == pytest.approx(true_us(runtime, record.signature), rel=0.01)
    operators_us = sum(true_us(runtime, op.signature) for op in timing.ops)
    assert timing.latency_us == pytest.approx(operators_us + 1000.0, rel=1e-6)


def test_each_signature_is_recorded_once_and_the_coarseness_of_the_account_shows_in_its_spread() -> None:
    timing = InPlaceTimer(InPlaceReplay(resolution_us=1.0)).time_model(MODEL, FEEDS)
    keys = [record.signature.key for record in timing.records]
    assert set(keys) == {op.signature.key for op in timing.ops}
    assert len(keys) == len(set(keys)) < len(timing.ops)
    assert all(record.spread_us >= 1.0 for record in timing.records)
    assert sum(record.repeats for record in timing.records) == 2 * len(timing.ops)


@pytest.mark.parametrize(("inflation", "told"), [(1.25, "1.25 times"), (0.8, "0.80 times")])
def test_an_account_that_is_far_off_makes_every_operator_invalid(inflation: float, told: str) -> None:
    timing = InPlaceTimer(InPlaceReplay(inflation=inflation)).time_model(MODEL, FEEDS)
    assert not timing.valid
    assert all(told in (record.invalid_reason or "") for record in timing.records)


def test_what_counting_in_steps_explains_is_no_reason_for_distrust() -> None:
    # Every operator of this model takes next to nothing, which the account rounds up to half a microsecond.
    quick = NominalDevice(multiply_adds_per_s=4e13, bytes_per_s=2e13, launch_s=2e-7)
    model, feeds = ARCHITECTURES["mlp"].build(KINDS["fp32"]), feeds_of(ARCHITECTURES["mlp"])
    for resolution_us, trusted in ((1.0, True), (0.01, False)):
        runtime = InPlaceReplay(inflation=2.0, resolution_us=resolution_us, device=quick)
        timing = InPlaceTimer(runtime).time_model(model, feeds)
        assert timing.valid is trusted
        assert timing.scale < 0.7


class Uneven(InPlaceReplay):
    """Equal operators take different times by where they stand, and the first round is disturbed."""

    def time_in_place(
        self, model: bytes | str, feeds: Feeds, *, threads: int = 1, budget_s: float = 0.5
    ) -> Sequence[OpTime]:
        account, seen = [], {}
        for time in super().time_in_place(model, feeds, threads=threads, budget_s=budget_s):
            place = seen[time.op.signature.key] = seen.get(time.op.signature.key, 0) + 1
            disturbed = 3.0 if self.accounts == 2 else 1.0  # the first account is of a model that does nothing
            account.append(OpTime(time.op, time.latency_us * (5.0 if place == 1 else 1.0) * disturbed, 0.0))
        return account


def test_the_median_of_repeats_and_the_fastest_round_count() -> None:
    runtime = Uneven()
    timing = InPlaceTimer(runtime).time_model(MODEL, FEEDS)
    repeats = {key: sum(op.signature.key == key for op in timing.ops) for key in {o.signature.key for o in timing.ops}}
    thrice = [r for r in timing.records if repeats[r.signature.key] >= 3]
    assert thrice
    for record in thrice:
        unscaled_us = true_us(runtime, record.signature) * timing.scale
        assert record.minimum_us == pytest.approx(unscaled_us, rel=1e-6)


def test_the_constants_of_a_device_are_found_in_place() -> None:
    runtime = InPlaceReplay()
    found, device = measure_roofline(runtime), runtime.device
    assert found.float_gmacs == pytest.approx(device.multiply_adds_per_s / 1e9, rel=0.05)
    assert found.int8_gmacs == pytest.approx(device.multiply_adds_per_s * device.int8_gain / 1e9, rel=0.05)
    assert found.gbytes_per_s == pytest.approx(device.bytes_per_s / 1e9, rel=0.05)
    assert found.launch_us == pytest.approx(device.launch_s * 1e6, rel=0.05)


def test_profiling_a_model_in_place_prices_it_and_is_done_once(tmp_path: Path) -> None:
    runtime = InPlaceReplay(inflation=1.08)
    file = table_file(tmp_path, runtime)
    outcome = profile_model(runtime, MODEL, FEEDS, file)
    ops = runtime.executed_ops(MODEL, FEEDS)
    assert outcome.measured == len({op.signature.key for op in ops})
    assert (outcome.invalid, outcome.left) == (0, 0)
    kept = LatencyTable.load(file.path)
    assert kept.header.method == "in place"
    assert LatencyEstimator(kept).estimate(ops).coverage == 1.0
    before = runtime.accounts
    assert profile_model(runtime, MODEL, FEEDS, file).measured == 0
    assert runtime.accounts == before


def test_surveying_in_place_keeps_operators_and_whole_models(tmp_path: Path) -> None:
    runtime = InPlaceReplay(inflation=1.05)
    file = table_file(tmp_path, runtime)
    outcome = survey(runtime, file, models=corner("fp32", "int8"))
    assert outcome.left == 0
    assert len(outcome.table.models) == 6
    for model in outcome.table.models.values():
        run_us = 1e6 * runtime.device.run_s
        assert model.missing == 0
        assert model.operators_us == pytest.approx(model.latency_us - run_us, rel=0.02)
    assert all(record.valid for record in file.load())


def test_a_model_whose_account_cannot_be_trusted_is_left_out_with_the_reason(tmp_path: Path) -> None:
    runtime = InPlaceReplay(inflation=2.0)
    notices: list[str] = []

    class Told:
        def notice(self, text: str) -> None:
            notices.append(text)

        def stage(self, *_: object, **__: object) -> None: ...
        def advance(self, n: int = 1) -> None: ...
        def detail(self, text: str) -> None: ...
        def best(self, text: str) -> None: ...

    outcome = survey(runtime, table_file(tmp_path, runtime), models=corner("fp32")[:1], progress=Told())
    assert not outcome.table.models
    assert "2.00 times the model's own time" in notices[0]
    assert len(outcome.table) > 0
    assert not any(record.valid for record in outcome.table)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_real_runtime_that_times_in_place(tmp_path: Path, threads: int) -> None:
    pytest.importorskip("openvino")
    if usable_cores() < threads:
        pytest.skip("fewer processors than threads")
    runtime = get_runtime("openvino")
    assert isinstance(runtime, InPlaceRuntime)
    timing = InPlaceTimer(runtime, threads).time_model(MODEL, FEEDS)
    assert 0.3 < timing.scale < 3.0
    assert {r.signature.key for r in timing.records} == {op.signature.key for op in timing.ops}
    by_key = {record.signature.key: record for record in timing.records}
    convolutions = [op for op in timing.ops if multiply_adds(op.signature)]
    assert len(convolutions) >= 20
    # Ordinary medians of repeats, so only about; what a run costs is not in it.
    total_us = sum(by_key[op.signature.key].minimum_us for op in timing.ops)
    assert total_us == pytest.approx(timing.latency_us, rel=0.4)


def test_surveying_with_a_real_runtime_that_times_in_place(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    runtime = get_runtime("openvino")
    outcome = survey(runtime, table_file(tmp_path, runtime), models=[(ARCHITECTURES["ds_cnn"], KINDS["fp32"])])
    if outcome.refusal is not None:
        pytest.skip(outcome.refusal)
    assert outcome.table.header.method == "in place"
    assert outcome.measured == len(outcome.table) > 3
