"""Tables of devices that this machine is not."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from autocompress.errors import TableError
from autocompress.latency import elsewhere
from autocompress.latency.device import Device
from autocompress.latency.header import TableHeader
from autocompress.latency.locate import shipped_tables, user_cache
from autocompress.latency.opening import open_latency
from autocompress.latency.predictor import load_predictors
from autocompress.latency.speedup import estimated_speedup, scaled
from autocompress.latency.table import LatencyTable
from autocompress.latency.train import train_predictors
from autocompress.measurement import EstimatedLatency, Interval
from autocompress.progress import NullProgress
from autocompress.runtimes import get_runtime

BOARD = Device("arm", "8-d0c", "Board X", ("asimddp", "neon"), 4)


class Watching(NullProgress):
    def __init__(self) -> None:
        self.stages: list[str] = []
        self.notices: list[str] = []

    def stage(self, name: str, total: int | None = None, limit_s: float | None = None) -> None:
        self.stages.append(name)

    def notice(self, text: str) -> None:
        self.notices.append(text)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOCOMPRESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(elsewhere, "_FEWEST_RECORDS", 60)  # forests are trained faster on few


@cache
def shipped_table() -> LatencyTable:
    """A table that ships, read once; tests do not change it."""
    return LatencyTable.load(next(p for p in shipped_tables() if "onnxruntime" in p.name))


def board_table(path: Path, records: int, slower: float = 4.0, **header: object) -> Path:
    """A table of another device, on which everything takes ``slower`` times as long as on a device that ships."""
    shipped = shipped_table()
    step = max(1, len(shipped) // records)
    kept = [
        replace(r, median_us=r.median_us * slower, minimum_us=r.minimum_us * slower)
        for r in list(shipped)[::step][:records]
        if r.valid
    ]
    constants = {n: v * slower if n == "launch_us" else v / slower for n, v in shipped.header.constants.items()}
    about = replace(shipped.header, device=BOARD, constants=constants, **header)  # type: ignore[arg-type]
    LatencyTable(about, kept).save(path)
    return path


def never(*_: object, **__: object) -> None:
    raise AssertionError("something was timed on this machine")


def test_everything_is_about_the_tables_device_and_nothing_is_timed_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("with_constants", "profile_model"):
        monkeypatch.setattr(f"autocompress.latency.opening.{name}", never)
    path, watching = board_table(tmp_path / "board.jsonl", 80, threads=2), Watching()
    source = open_latency(get_runtime("onnxruntime"), table=path, progress=watching)
    assert source.elsewhere
    assert (source.header.device, source.header.threads, source.threads) == (BOARD, 2, 2)
    assert len(source.table()) == len(LatencyTable.load(path))
    assert watching.stages == ["train predictors for the device of the latency table"]
    assert "threads is 1 here and 2 there" in source.notices[0]
    assert "estimated for Board X" in source.notices[0]
    known = next(iter(source.table()))
    (price,) = source.estimator().price([known.signature])
    assert price.source == "table"


def test_forests_are_trained_on_the_table_once_and_again_when_it_changes(tmp_path: Path) -> None:
    path = board_table(tmp_path / "board.jsonl", 80)
    first, again, changed = Watching(), Watching(), Watching()
    source = open_latency(get_runtime("onnxruntime"), table=path, progress=first)
    assert not source.foreign
    open_latency(get_runtime("onnxruntime"), table=path, progress=again)
    board_table(path, 70)
    open_latency(get_runtime("onnxruntime"), table=path, progress=changed)
    assert [len(w.stages) for w in (first, again, changed)] == [1, 0, 1]
    folder = user_cache() / "predictors" / source.header.stem
    load_predictors(folder, path)


def test_forests_of_a_table_predict_the_tables_device(tmp_path: Path) -> None:
    path = board_table(tmp_path / "board.jsonl", 300)
    source = open_latency(get_runtime("onnxruntime"), table=path)
    assert source.predictors is not None
    shipped = shipped_table()
    unseen = [r for r in shipped if r.valid and r.signature not in source.table()][:300]
    predicted = source.predictors.predict([r.signature for r in unseen])
    errors = [np.log(p.latency_us / (4.0 * r.minimum_us)) for p, r in zip(predicted, unseen, strict=True) if p]
    assert len(errors) > 200
    assert abs(np.median(errors)) < 0.1


def test_a_table_with_too_few_records_borrows_forests_and_corrects_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    third = board_table(tmp_path / "third.jsonl", 150, slower=1.0)
    train_predictors(third, tmp_path / "third", command="a test")
    monkeypatch.setattr(elsewhere, "other_predictors", lambda runtime: [tmp_path / "third"])
    path = board_table(tmp_path / "few.jsonl", 20)
    source = open_latency(get_runtime("onnxruntime"), table=path)
    assert source.foreign
    assert any("20 records, and 60 are the fewest" in notice for notice in source.notices)
    assert any("predictors of another device" in notice for notice in source.notices)
    shipped = shipped_table()
    unseen = [r for r in shipped if r.valid and r.signature not in source.table()][:200]
    prices = source.estimator().price([r.signature for r in unseen])
    ratios = [price.latency_us / (4.0 * r.minimum_us) for price, r in zip(prices, unseen, strict=True)]
    assert 0.6 < np.median(ratios) < 1.8


def test_without_any_forest_the_table_goes_on_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elsewhere, "other_predictors", lambda runtime: [])
    source = open_latency(get_runtime("onnxruntime"), table=board_table(tmp_path / "few.jsonl", 20))
    assert source.predictors is None
    assert any("get a bound only" in notice for notice in source.notices)


def test_damaged_forests_in_the_cache_are_trained_anew(tmp_path: Path) -> None:
    path = board_table(tmp_path / "board.jsonl", 80)
    source = open_latency(get_runtime("onnxruntime"), table=path)
    folder = user_cache() / "predictors" / source.header.stem
    for forest in folder.glob("*.onnx"):
        forest.write_bytes(b"damaged")
    again = Watching()
    assert open_latency(get_runtime("onnxruntime"), table=path, progress=again).predictors is not None
    assert again.stages


def test_a_table_of_another_runtime_is_refused(tmp_path: Path) -> None:
    path = board_table(tmp_path / "board.jsonl", 20, runtime="openvino")
    with pytest.raises(TableError, match="is about openvino, and onnxruntime was asked for; give --runtime openvino"):
        open_latency(get_runtime("onnxruntime"), table=path)


def test_the_users_own_records_of_this_machine_stay_out(tmp_path: Path) -> None:
    path = board_table(tmp_path / "board.jsonl", 20)
    shipped = shipped_table()
    header: TableHeader = LatencyTable.load(path).header
    own = user_cache() / "latency_tables" / f"{header.stem}.jsonl"
    own.parent.mkdir(parents=True)
    LatencyTable(header, list(shipped)[:50]).save(own)
    source = open_latency(get_runtime("onnxruntime"), table=path)
    assert len(source.table()) == len(LatencyTable.load(path))


def test_the_speedup_of_two_estimates_joins_their_relative_errors() -> None:
    baseline = EstimatedLatency(8.0, Interval(8.0 / 1.2, 8.0 * 1.1), 1.0, 9)
    candidate = EstimatedLatency(4.0, Interval(4.0 / 1.3, 4.0 * 1.25), 1.0, 9)
    found = estimated_speedup(baseline, candidate)
    assert found.speedup == 2.0
    assert found.interval90.low == pytest.approx(2.0 * np.exp(-np.hypot(np.log(1.2), np.log(1.25))))
    assert found.interval90.high == pytest.approx(2.0 * np.exp(np.hypot(np.log(1.1), np.log(1.3))))
    exact = EstimatedLatency(4.0, Interval(4.0, 4.0), 1.0, 9)
    assert estimated_speedup(exact, exact).interval90 == Interval(1.0, 1.0)
    endless = estimated_speedup(baseline, EstimatedLatency(4.0, Interval(0.0, 9.0), 0.0, 9))
    assert np.isfinite(endless.interval90.high)


def test_an_estimate_on_another_scale_keeps_its_shape() -> None:
    found = scaled(EstimatedLatency(4.0, Interval(3.0, 6.0), 0.5, 9), 2.5)
    assert found == EstimatedLatency(10.0, Interval(7.5, 15.0), 0.5, 9)
