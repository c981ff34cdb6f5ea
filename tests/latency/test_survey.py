"""Surveying the zoo: once per model and operator, resumable, within a budget, and again for better times."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from autocompress.latency.survey import survey
from autocompress.latency.table import LatencyTable
from autocompress.runtimes import get_runtime
from autocompress.runtimes.replay import NominalDevice, ReplayRuntime

sys.path.append(str(Path(__file__).parent))
from zoo_parts import ARCHITECTURES, KINDS, corner, table_file


class Watching:
    def __init__(self) -> None:
        self.total: int | None = None
        self.advanced = 0
        self.details: list[str] = []
        self.notices: list[str] = []

    def stage(self, name: str, total: int | None = None, limit_s: float | None = None) -> None:
        self.total = total

    def advance(self, n: int = 1) -> None:
        self.advanced += n

    def detail(self, text: str) -> None:
        self.details.append(text)

    def best(self, text: str) -> None: ...

    def notice(self, text: str) -> None:
        self.notices.append(text)


def test_every_model_and_operator_is_kept(tmp_path: Path) -> None:
    runtime, watching = get_runtime("replay"), Watching()
    file = table_file(tmp_path, runtime)
    outcome = survey(runtime, file, models=corner("fp32", "int8"), progress=watching)
    table = LatencyTable.load(file.path)
    assert (outcome.left, outcome.invalid, outcome.refusal) == (0, 0, None)
    assert outcome.measured == len(table) > 40
    assert set(table.models) == {f"{a.name}/{v.name}" for a, v in corner("fp32", "int8")}
    for model in table.models.values():
        assert model.missing == 0
        assert model.latency_us == pytest.approx(model.operators_us + 1e6 * runtime.device.run_s, rel=0.01)
        assert set(model.operators) <= {record.signature.key for record in table}
    assert watching.total == watching.advanced == 6
    assert watching.details[-1].startswith(f"{outcome.measured} operators, ")


def test_what_is_there_is_not_measured_again(tmp_path: Path) -> None:
    runtime = get_runtime("replay")
    file = table_file(tmp_path, runtime)
    survey(runtime, file, models=corner("fp32"))
    before = file.path.read_bytes()
    assert survey(runtime, file, models=corner("fp32")).measured == 0
    assert file.path.read_bytes() == before
    more = survey(runtime, file, models=corner("fp32", "pruned"))
    assert 0 < more.measured < len(more.table)


def test_a_budget_ends_a_survey_and_the_next_goes_on(tmp_path: Path) -> None:
    runtime = get_runtime("replay")
    file = table_file(tmp_path, runtime)
    nothing = survey(runtime, file, models=corner("fp32"), budget_s=0.0)
    assert (nothing.measured, nothing.left) == (0, 3)
    assert survey(runtime, file, models=corner("fp32")).left == 0


def test_surveying_again_keeps_the_better_times(tmp_path: Path) -> None:
    slow = ReplayRuntime(device=NominalDevice(launch_s=9e-6, run_s=9e-6))
    file = table_file(tmp_path, slow)
    before = survey(slow, file, models=corner("fp32")).table
    quick = get_runtime("replay")
    after = survey(quick, file, models=corner("fp32"), again=True).table
    assert len(after) == len(before)
    assert all(after.find(r.signature).minimum_us < r.minimum_us for r in before)  # type: ignore[union-attr]
    assert all(after.models[name].latency_us < model.latency_us for name, model in before.models.items())
    worse = survey(slow, file, models=corner("fp32"), again=True).table
    assert {r.signature.key: r.minimum_us for r in worse} == {r.signature.key: r.minimum_us for r in after}


def test_the_real_runtime_on_a_small_model(tmp_path: Path) -> None:
    runtime = get_runtime("onnxruntime")
    file = table_file(tmp_path, runtime)
    outcome = survey(runtime, file, models=[(ARCHITECTURES["ds_cnn"], KINDS["int8"])])
    if outcome.refusal is not None:
        pytest.skip(outcome.refusal)
    (model,) = outcome.table.models.values()
    assert outcome.measured == len(model.operators) > 5
    assert model.latency_us > 0
