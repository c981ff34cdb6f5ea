"""A runtime that dies on a network of the zoo costs that network, and the survey goes on."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from autocompress.api.guarded_surveyor import GuardedSurveyor
from autocompress.latency.header import TableHeader
from autocompress.latency.journal import TableFile
from autocompress.latency.profile import new_header
from autocompress.latency.survey import survey
from autocompress.latency.surveyor import Step
from autocompress.latency.table import LatencyTable
from autocompress.latency.zoo.catalogue import Architecture, architectures
from autocompress.latency.zoo.layers import Layer
from autocompress.latency.zoo.variant import VARIANTS, Variant
from autocompress.progress import NullProgress
from autocompress.runtimes import get_runtime

pytestmark = pytest.mark.skipif(os.name != "posix", reason="worker processes need Linux or macOS")
SMALL = [a for a in architectures() if a.name in ("mlp", "ds_cnn", "resnet_cifar")]
FP32 = next(v for v in VARIANTS if v.name == "fp32")

MODELS = [(architecture, FP32) for architecture in SMALL]
CONSTANTS = {"float_gmacs": 40.0, "int8_gmacs": 140.0, "gbytes_per_s": 20.0, "launch_us": 1.0}


class Said(NullProgress):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notices: list[str] = []

    def notice(self, text: str) -> None:
        self.notices.append(text)


@pytest.fixture
def header() -> TableHeader:
    return new_header(get_runtime("replay"), 1, command="a test")


def test_what_is_timed_in_another_process_is_in_the_table(tmp_path: Path, header: TableHeader) -> None:
    file = TableFile(tmp_path / "t.jsonl", header)
    with GuardedSurveyor("replay", file.path, header) as surveyor:
        outcome = survey(get_runtime("replay"), file, models=MODELS, surveyor=surveyor)
        step = surveyor.time_layers([Layer("float", (1, 8, 9, 9), 13, window=(3, 3))], 0)
    assert (outcome.left, outcome.invalid, outcome.refusal) == (0, 0, None)
    assert step.measured == 1
    table = file.load()
    assert len(table) == outcome.measured + step.measured
    assert set(table.models) == {f"{architecture.name}/fp32" for architecture in SMALL}
    assert table.header.constants["float_gmacs"] == pytest.approx(40, rel=0.05)


class Deadly(GuardedSurveyor):
    """Its process dies on one architecture, as of a fault in the runtime."""

    def time_zoo_model(self, architecture: Architecture, variant: Variant, *, again: bool = False) -> Step:
        if architecture.name == "ds_cnn":
            self._executor.submit(os.abort).result()
        return super().time_zoo_model(architecture, variant, again=again)


def test_a_death_costs_one_model(tmp_path: Path, header: TableHeader) -> None:
    file, said = TableFile(tmp_path / "t.jsonl", header), Said()
    with Deadly("replay", file.path, header) as surveyor:
        outcome = survey(get_runtime("replay"), file, models=MODELS, surveyor=surveyor, progress=said)
    assert (outcome.left, outcome.refusal) == (0, None)
    assert set(file.load().models) == {"mlp/fp32", "resnet_cifar/fp32"}
    (notice,) = said.notices
    assert notice.startswith("ds_cnn/fp32 left out of the survey: ")
    assert "abort" in notice.lower()


def test_what_ends_a_survey_here_ends_it_there(tmp_path: Path, header: TableHeader) -> None:
    path = tmp_path / "t.jsonl"
    with GuardedSurveyor("replay", path, header) as surveyor:
        assert surveyor.begin() is None
    LatencyTable(replace(header, constants={**CONSTANTS, "float_gmacs": 80.0})).save(path)
    with GuardedSurveyor("replay", path, header) as surveyor:
        outcome = survey(get_runtime("replay"), TableFile(path, header), models=MODELS, surveyor=surveyor)
        assert "takes 2.00 times as long" in (surveyor.begin() or "")
    assert "takes 2.00 times as long" in (outcome.refusal or "")
    assert (outcome.measured, outcome.left) == (0, len(MODELS))
