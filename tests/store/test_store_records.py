"""What is written comes back equal, and only that."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autocompress.errors import StorageError
from autocompress.measurement import EstimatedLatency, Interval, MeasuredDrop, MeasuredLatency, MeasuredSpeedup
from autocompress.store import CandidateRecord, LayerRecord, OperatorRecord, open_store
from autocompress.store.rows import candidate_record, candidate_row

finite = st.floats(allow_nan=False, allow_infinity=True)
counts = st.integers(0, 2**31 - 1)
intervals = st.builds(Interval, finite, finite)
drops = st.builds(MeasuredDrop, finite, intervals, counts, st.text(max_size=8))
latencies = st.builds(MeasuredLatency, finite, finite, finite, counts, st.sampled_from(["cpu", "wall"]))
speedups = st.builds(MeasuredSpeedup, latencies, latencies, finite, intervals, counts)
estimates = st.builds(EstimatedLatency, finite, intervals, st.floats(0, 1), counts)
records = st.builds(
    CandidateRecord,
    trial=counts,
    recipe_hash=st.text(max_size=12),
    recipe=st.lists(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5)), max_size=3),
    origin=st.sampled_from(["seed", "explore", "screen"]),
    state=st.sampled_from(["complete", "pruned", "failed"]),
    cause=st.none() | st.text(max_size=20),
    predicted_drop=st.none() | finite,
    predicted_drop_interval=st.none() | intervals,
    estimate=st.none() | estimates,
    search_drop=st.none() | drops,
    search_speedup=st.none() | speedups,
    damage=st.none() | finite,
    latency=st.none() | latencies,
    size_bytes=st.none() | st.integers(0, 2**62),
    build_s=st.none() | finite,
    evaluate_s=st.none() | finite,
    verified_drop=st.none() | drops,
    verified_speedup=st.none() | speedups,
    artifact=st.none() | st.text(max_size=20),
)


@given(records)
def test_candidate_columns_hold_everything(record):
    assert candidate_record(candidate_row(record)) == record


def test_candidates_survive_the_database(store, new_study, candidate):
    latency = MeasuredLatency(3.7, 3.6, 0.02, 50, "cpu")
    full = candidate(
        1,
        origin="seed",
        predicted_drop=0.004,
        predicted_drop_interval=Interval(-0.001, 0.01),
        estimate=EstimatedLatency(3.8, Interval(3.5, 4.1), 0.93, 66),
        search_drop=MeasuredDrop(0.005, Interval(-0.002, 0.012), 400, "paired-t"),
        search_speedup=MeasuredSpeedup(latency, latency, 2.01, Interval(1.9, 2.1), 12),
        damage=0.013,
        latency=latency,
        size_bytes=3_600_000_000,
        build_s=0.12,
        evaluate_s=4.5,
        verified_drop=MeasuredDrop(0.006, Interval(0.0, 0.012), 700, "paired-bootstrap"),
        verified_speedup=MeasuredSpeedup(latency, latency, 2.05, Interval(2.01, 2.09), 60),
        artifact="out/best.onnx",
    )
    bare = candidate(0, state="failed", cause="the runtime crashed (signal 11)")
    store.create_study(new_study())
    store.record_candidates("mobilenet", [full, bare])
    assert store.load("mobilenet").candidates == (bare, full)


def test_nan_comes_back_as_missing_and_an_undefined_interval_keeps_its_measurement(store, new_study, candidate):
    store.create_study(new_study())
    nan = math.nan
    record = candidate(0, damage=nan, search_drop=MeasuredDrop(0.5, Interval(nan, nan), 1, "paired-t"))
    store.record_candidates("mobilenet", [record])
    (back,) = store.load("mobilenet").candidates
    assert back.damage is None
    assert back.search_drop is not None
    assert (back.search_drop.drop, back.search_drop.n) == (0.5, 1)
    assert math.isnan(back.search_drop.ci95.low)


def test_recording_a_trial_again_replaces_it(store, new_study, candidate):
    store.create_study(new_study())
    store.record_candidates("mobilenet", [candidate(i) for i in range(1200)])
    changed = [candidate(i, size_bytes=i) for i in range(0, 1200, 2)]
    store.record_candidates("mobilenet", changed)
    found = store.load("mobilenet").candidates
    assert [c.trial for c in found] == list(range(1200))
    assert [c.size_bytes for c in found[:4]] == [0, None, 2, None]


def test_one_trial_twice_in_a_call_is_refused_whole(store, new_study, candidate):
    store.create_study(new_study())
    with pytest.raises(ValueError, match="one trial number"):
        store.record_candidates("mobilenet", [candidate(0), candidate(1), candidate(1)])
    assert store.load("mobilenet").candidates == ()


def test_header_life(store, new_study):
    before = datetime.now(UTC)
    study = new_study(model_path="modèles/réseau.onnx")
    header = store.create_study(study)
    assert header.study == study
    assert header.status == "running"
    assert before <= header.created == header.updated <= datetime.now(UTC)
    store.set_baseline("mobilenet", {"accuracy": np.float32(0.5), "n": np.int64(700)})
    store.set_status("mobilenet", "interrupted", "Ctrl-C")
    middle = store.header("mobilenet")
    assert (middle.status, middle.stop_reason) == ("interrupted", "Ctrl-C")
    assert middle.baseline == {"accuracy": 0.5, "n": 700}
    assert middle.updated > header.updated
    store.finish_study("mobilenet", status="complete", stop_reason="target met", summary={"target_met": True})
    end = store.header("mobilenet")
    assert (end.status, end.stop_reason, end.summary) == ("complete", "target met", {"target_met": True})
    assert end.created == header.created


def test_json_documents_hold_no_nan(store, new_study):
    store.create_study(new_study())
    store.set_baseline("mobilenet", {"accuracy": math.inf, "parts": [math.nan, 1.0]})
    assert store.header("mobilenet").baseline == {"accuracy": None, "parts": [None, 1.0]}


def test_operators_and_layers_replace_those_before(store, new_study):
    store.create_study(new_study())
    op = OperatorRecord("conv1", "Conv", "stem", "1x3x32x32 -> 1x16x32x32", "float32", 448, 10**12, 0.4, "table", 0.1)
    store.record_operators("mobilenet", "baseline", [op, replace(op, name="conv2")])
    store.record_operators("mobilenet", "best", [replace(op, dtype="int8")])
    store.record_operators("mobilenet", "baseline", [replace(op, name="conv3"), op])
    store.record_layers("mobilenet", [LayerRecord("stem", "int8", 0.5, 1.0)])
    store.record_layers(
        "mobilenet", [LayerRecord("stem", "fp32", None, 2.0, True), LayerRecord("a", "int8", 0.1, None)]
    )
    record = store.load("mobilenet")
    assert [o.name for o in record.operators["baseline"]] == ["conv3", "conv1"]
    assert record.operators["best"] == (replace(op, dtype="int8"),)
    assert record.operators["baseline"][1] == op
    assert [(r.layer, r.damage, r.chosen) for r in record.layers] == [("stem", None, True), ("a", 0.1, False)]


def test_events_keep_their_order(store, new_study):
    store.create_study(new_study())
    for i in range(5):
        store.record_event("mobilenet", "search", f"event {i}")
    events = store.load("mobilenet").events
    assert [e.message for e in events] == [f"event {i}" for i in range(5)]
    assert all(e.time.tzinfo is UTC for e in events)


def test_studies_are_apart(store, new_study, candidate):
    for name in ("a", "b"):
        store.create_study(new_study(name))
        store.record_candidates(name, [candidate(0, cause=name), candidate(1)])
    store.record_candidates("a", [candidate(1, cause="changed")])
    assert [c.cause for c in store.load("b").candidates] == ["b", None]
    assert [(h.name, h.trials) for h in store.list_studies()] == [("b", 2), ("a", 2)]


def test_a_taken_name_is_refused(store, new_study):
    store.create_study(new_study())
    with pytest.raises(StorageError, match=r"already in .*--resume"):
        store.create_study(new_study())


@pytest.mark.parametrize("name", ["", "  ", "x" * 513])
def test_a_name_that_optuna_cannot_hold_is_refused(store, new_study, name):
    with pytest.raises(StorageError, match="1 to 512 characters"):
        store.create_study(new_study(name))


def test_an_unknown_study_names_those_that_are_there(store, new_study):
    with pytest.raises(StorageError, match=r"no study 'x' in .*holds no study yet"):
        store.load("x")
    for i in range(7):
        store.create_study(new_study(f"s{i}"))
    with pytest.raises(StorageError, match=r"it holds s6, s5, s4, s3, s2, \.\.\."):
        store.set_baseline("x", {})


def test_reopening_finds_everything(tmp_path: Path, new_study, candidate):
    path = tmp_path / "new folder" / "ünï code.db"
    with open_store(path) as store:
        store.create_study(new_study())
        store.record_candidates("mobilenet", [candidate(0)])
        before = store.load("mobilenet")
    with open_store(path, create=False) as store:
        assert store.load("mobilenet") == before
        assert store.exists("mobilenet")
        assert not store.exists("other")
