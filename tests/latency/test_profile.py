"""Profiling operators: the slope over copies, budgets, resuming."""

from __future__ import annotations

import sys
from pathlib import Path

import onnx
import pytest

from autocompress.errors import RuntimeFailure
from autocompress.latency.profile import profile_ops
from autocompress.latency.roofline import Roofline, measure_roofline
from autocompress.latency.slope import time_operator
from autocompress.latency.steadiness import Steadiness
from autocompress.latency.table import LatencyTable
from autocompress.runtimes import get_runtime
from autocompress.runtimes.protocol import ExecutedOp, SessionOptions
from autocompress.runtimes.replay import NominalDevice, ReplayRuntime
from autocompress.runtimes.work import multiply_adds

sys.path.append(str(Path(__file__).parent))
from zoo_parts import corner, executed, table_file


class Steps:
    def __init__(self) -> None:
        self.advanced = 0
        self.total: int | None = None
        self.notices: list[str] = []

    def stage(self, name: str, total: int | None = None, limit_s: float | None = None) -> None:
        self.total = total

    def advance(self, n: int = 1) -> None:
        self.advanced += n

    def detail(self, text: str) -> None: ...

    def best(self, text: str) -> None: ...

    def notice(self, text: str) -> None:
        self.notices.append(text)


def test_the_slope_gives_back_what_an_operator_costs_without_the_cost_of_a_run() -> None:
    runtime = ReplayRuntime(device=NominalDevice(run_s=5e-3))
    for op in executed("ds_cnn", "int8", runtime):
        timing = time_operator(runtime, op)
        assert timing.minimum_us == pytest.approx(1e6 * runtime.device.seconds(op.signature, 1), rel=1e-3)
        assert timing.invalid_reason is None


def test_on_the_real_runtime_more_work_takes_more_time() -> None:
    runtime = get_runtime("onnxruntime")
    times = [
        (multiply_adds(op.signature), time_operator(runtime, op).minimum_us)
        for op in executed("context_net", "fp32", runtime)
        if op.signature.op_type == "Conv"
    ]
    (least, short), (most, long) = min(times), max(times)
    assert most > 10 * least
    assert long > 3 * short > 0


def test_the_constants_of_a_nominal_device_are_found() -> None:
    device = NominalDevice()
    found = measure_roofline(ReplayRuntime(device=device))
    assert found.float_gmacs == pytest.approx(device.multiply_adds_per_s / 1e9, rel=0.05)
    assert found.int8_gmacs == pytest.approx(device.multiply_adds_per_s * device.int8_gain / 1e9, rel=0.05)
    assert found.gbytes_per_s == pytest.approx(device.bytes_per_s / 1e9, rel=0.05)
    assert found.launch_us == pytest.approx(device.launch_s * 1e6, rel=0.05)
    assert Roofline.from_constants(found.to_constants()).float_gmacs == pytest.approx(found.float_gmacs, rel=1e-3)


def test_every_distinct_operator_is_measured_once(tmp_path: Path) -> None:
    runtime = get_runtime("replay")
    file, steps = table_file(tmp_path, runtime), Steps()
    ops = executed("resnet_cifar", "int8")
    outcome = profile_ops(runtime, ops, file, progress=steps)
    distinct = {op.signature.key for op in ops}
    assert (outcome.measured, outcome.left, outcome.invalid) == (len(distinct), 0, 0)
    assert steps.total == steps.advanced == len(distinct) < len(ops)
    assert {r.signature.key for r in LatencyTable.load(file.path)} == distinct
    assert profile_ops(runtime, ops, file).measured == 0


def test_what_another_table_knows_is_not_measured_again(tmp_path: Path) -> None:
    runtime = get_runtime("replay")
    ops = executed("ds_cnn", "fp32")
    known = profile_ops(runtime, ops, table_file(tmp_path / "a", runtime)).table
    assert profile_ops(runtime, ops, table_file(tmp_path / "b", runtime), known=known).measured == 0


def test_a_budget_ends_a_profile_and_the_next_goes_on(tmp_path: Path) -> None:
    runtime = get_runtime("replay")
    ops, file = executed("resnet_cifar", "fp32"), table_file(tmp_path, runtime)
    nothing = profile_ops(runtime, ops, file, budget_s=0.0)
    assert nothing.measured == 0
    assert nothing.left == len({op.signature.key for op in ops})
    assert profile_ops(runtime, ops, file).left == 0


class Interrupted(Exception): ...


def test_interrupting_loses_nothing_measured(tmp_path: Path) -> None:
    runtime = get_runtime("replay")

    class Stop(Steps):
        def advance(self, n: int = 1) -> None:
            super().advance(n)
            if self.advanced == 5:
                raise Interrupted

    ops, file = executed("resnet_cifar", "fp32"), table_file(tmp_path, runtime)
    with pytest.raises(Interrupted):
        profile_ops(runtime, ops, file, progress=Stop())
    assert len(file.load()) == 5
    rest = profile_ops(runtime, ops, file)
    assert rest.measured == len({op.signature.key for op in ops}) - 5


def test_operators_that_cannot_run_alone_are_recorded_with_the_reason(tmp_path: Path) -> None:
    runtime = get_runtime("replay")
    good, *_ = executed("ds_cnn", "fp32")
    other = executed("mlp", "fp32")[0]
    unknown = onnx.ModelProto.FromString(other.standalone or b"")
    unknown.graph.node[0].op_type = "Nonesuch"
    broken = [
        ExecutedOp("a", good.signature, standalone=None),
        ExecutedOp("b", other.signature, standalone=unknown.SerializeToString()),
    ]
    steps = Steps()
    outcome = profile_ops(runtime, broken, table_file(tmp_path, runtime), progress=steps)
    assert outcome.invalid == 2
    assert len(steps.notices) == 1
    reasons = {r.signature.op_type: r.invalid_reason for r in outcome.table}
    assert reasons[good.signature.op_type] == "the runtime cannot run it alone"
    assert all(reasons.values())
    assert outcome.table.find(good.signature) is None


def test_a_failing_runtime_does_not_end_the_profile(tmp_path: Path) -> None:
    class Failing(ReplayRuntime):
        def load(self, model: bytes | str, options: SessionOptions | None = None) -> object:  # type: ignore[override]
            raise RuntimeFailure("replay could not load the model: out of memory")

    runtime = get_runtime("replay")
    outcome = profile_ops(Failing(), executed("mlp", "fp32"), table_file(tmp_path, runtime))
    assert outcome.invalid == outcome.measured > 0
    assert all("out of memory" in (r.invalid_reason or "") for r in outcome.table)


class Busy(ReplayRuntime):
    """A device that is disturbed nearly all the time, by its real clock."""

    def load(self, model: bytes | str, options: SessionOptions | None = None) -> object:  # type: ignore[override]
        session = super().load(model, options or SessionOptions())
        session.clock = "cpu"
        steps = iter(range(1_000_000))
        plain = session.time_runs
        session.time_runs = lambda feeds, runs=1: plain(feeds, runs) * (1.0 if next(steps) < 12 else 2.0)  # type: ignore[method-assign]
        return session


def test_an_unstable_clock_is_refused(tmp_path: Path) -> None:
    from autocompress.latency.survey import survey

    file = table_file(tmp_path, get_runtime("replay"))
    for outcome in (
        survey(Busy(), file, models=corner("fp32")),
        profile_ops(Busy(), executed("mlp", "fp32"), file),
    ):
        assert "too disturbed to be profiled: equal work usually takes 2.0 times" in (outcome.refusal or "")
        assert (outcome.measured, len(outcome.table)) == (0, 0)
        assert outcome.left > 0
    assert not file.path.exists()


def test_steadiness_tells_disturbed_moments_from_quiet_ones() -> None:
    steady = Steadiness(get_runtime("replay"))
    assert steady.is_steady()
    assert steady.wait(0.0) == 1.0
    busy = Steadiness(Busy())
    assert busy.slowdown() == pytest.approx(2.0)
    assert busy.wait(0.05) == pytest.approx(2.0)
