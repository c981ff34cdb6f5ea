"""Operators that neither table nor forest knows: timed on the spot, or priced by a bound with a warning; never zero."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

import autocompress.api as api
from autocompress.errors import StorageError
from autocompress.latency.device import Device
from autocompress.latency.locate import own_tables
from autocompress.latency.opening import LatencySource
from autocompress.latency.profile import ProfileOutcome, new_header
from autocompress.latency.table import LatencyTable
from autocompress.runtimes import get_runtime

sys.path.append(str(Path(__file__).parents[1] / "e2e"))
from small_world import save_classifier

CONSTANTS = {"float_gmacs": 40.0, "int8_gmacs": 140.0, "gbytes_per_s": 20.0, "launch_us": 1.0}


@pytest.fixture(autouse=True)
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOCOMPRESS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """No forests ship for the replayed runtime, so that all its operators are unknown."""
    return save_classifier(tmp_path / "m.onnx")


def test_unknown_operators_are_timed_once_where_the_device_is_at_hand(model: Path) -> None:
    first = api.estimate(model, runtime="replay")
    assert first["coverage"] == 1.0
    (told,) = [n for n in first["notices"] if "timed now" in n]
    assert told.startswith("neither table nor forest knew ")
    assert "Conv" in told
    (own,) = own_tables()
    assert own.name in told
    assert not any("bound only" in n for n in first["notices"] if n != told and "no predictors" not in n)
    again = api.estimate(model, runtime="replay")
    assert not any("timed now" in n for n in again["notices"])
    assert again["latency_ms"] == pytest.approx(first["latency_ms"])


def test_nothing_is_timed_for_another_device(model: Path, tmp_path: Path) -> None:
    board = replace(new_header(get_runtime("replay"), 1), device=Device("arm", "8-d0c", "Board X", ("neon",), 4))
    LatencyTable(replace(board, constants=CONSTANTS)).save(tmp_path / "board.jsonl")
    found = api.estimate(model, runtime="replay", latency_table=tmp_path / "board.jsonl")
    assert found["latency_ms"] > 0
    assert found["coverage"] == 0.0
    assert any("neither table nor forest knows" in n and n.endswith("by a stated bound only") for n in found["notices"])
    assert list(own_tables()) == []


def _disturbed(source: LatencySource, *_: object, **__: object) -> ProfileOutcome:
    return ProfileOutcome(source.table(), 0, 0, 5, 0.1, "the device is too disturbed to be profiled")


def _unwritable(*_: object, **__: object) -> ProfileOutcome:
    raise StorageError("cannot write t.jsonl in /cache: Permission denied")


@pytest.mark.parametrize(
    ("profile_unknown", "why"), [(_disturbed, "too disturbed to be profiled"), (_unwritable, "Permission denied")]
)
def test_what_cannot_be_timed_gets_a_bound_with_the_reason(
    model: Path, monkeypatch: pytest.MonkeyPatch, profile_unknown: object, why: str
) -> None:
    monkeypatch.setattr(LatencySource, "profile_unknown", profile_unknown)
    found = api.estimate(model, runtime="replay")
    low, high = found["interval90_ms"]
    assert 0 < low < found["latency_ms"] < high
    assert found["coverage"] == 0.0
    (told,) = [n for n in found["notices"] if "priced by a stated bound only (" in n]
    assert why in told
