"""The database is Optuna's as much as ours."""

from __future__ import annotations

import math
import time

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from autocompress.errors import StorageError
from autocompress.store import open_store
from autocompress.store import optuna_studies as bridge

PRECISION = CategoricalDistribution(["int8", "fp32", None])
DISTRIBUTIONS = {
    "layer/a": PRECISION,
    "percentile": FloatDistribution(99.0, 100.0),
    "bits": IntDistribution(4, 8),
    "damping": FloatDistribution(1e-4, 1e-1, log=True),
}
PARAMS = {"layer/a": None, "percentile": 99.9, "bits": 8, "damping": 1e-2}


def trial(values=(0.01, 3.5), **changes):
    fields = {"values": list(values), "params": PARAMS, "distributions": DISTRIBUTIONS}
    return create_trial(**{**fields, **changes})


def varied_trials():
    return [
        trial(constraints={"accuracy_drop": -0.002, "latency_ms": 0.5}, user_attrs={"recipe": "ab12", "n": [1, 2]}),
        trial((math.inf, 2.0)),
        trial((-math.inf, 2.0), system_attrs={"ä": None}),
        create_trial(state=TrialState.PRUNED, params=PARAMS, distributions=DISTRIBUTIONS),
        create_trial(state=TrialState.FAIL, user_attrs={"cause": "it crashed"}),
        create_trial(state=TrialState.PRUNED, intermediate_values={0: 1.0, 1: math.nan, 2: math.inf}),
    ]


def described(found):
    return [
        (
            t.number,
            t.state,
            t.values,
            t.params,
            t.distributions,
            t.user_attrs,
            t.system_attrs,
            repr(t.intermediate_values),
            t.constraints,
            t.datetime_start,
            t.datetime_complete,
        )
        for t in found
    ]


def test_bulk_writing_gives_what_optuna_itself_writes(store):
    ours, theirs = store.optuna_study("ours"), store.optuna_study("theirs")
    given = varied_trials()
    assert store.add_trials("ours", given[:2]) == [0, 1]
    assert store.add_trials("ours", given[2:]) == [2, 3, 4, 5]
    for t in given:
        theirs.add_trial(t)
    loaded = [optuna.load_study(study_name=n, storage=store.location.url_text).trials for n in ("ours", "theirs")]
    assert described(loaded[0]) == described(loaded[1])
    assert described(ours.trials) == described(theirs.trials)
    assert store.add_trials("ours", []) == []


def test_an_unknown_optuna_schema_goes_through_optunas_public_functions(store, new_study, candidate, monkeypatch):
    monkeypatch.setattr(bridge, "_KNOWN_REVISIONS", frozenset())
    store.create_study(new_study())
    study = store.optuna_study("mobilenet")
    assert store.add_trials("mobilenet", varied_trials()) == list(range(6))
    written = store.record_candidates("mobilenet", [candidate(99)], trials=[trial()])
    assert [c.trial for c in written] == [6]
    assert len(study.trials) == 7
    with pytest.raises(StorageError, match="Optuna has no study 'other'"):
        store.add_trials("other", [trial()])


def test_stock_optuna_reads_the_front_right(store):
    store.optuna_study("s")
    points = {"good": (0.005, 3.5), "best drop": (0.0, 7.0), "dominated": (0.006, 3.6), "infeasible": (0.2, 1.0)}
    store.add_trials(
        "s",
        [trial(v, user_attrs={"name": k}, constraints={"accuracy_drop": v[0] - 0.01}) for k, v in points.items()],
    )
    study = optuna.load_study(study_name="s", storage=store.location.url_text)
    assert {t.user_attrs["name"] for t in study.best_trials} == {"good", "best drop"}
    assert study.metric_names == ["accuracy_drop", "latency_ms"]
    assert [d.name for d in study.directions] == ["MINIMIZE", "MINIMIZE"]


def test_optuna_can_go_on_with_the_study(store):
    store.optuna_study("s")
    store.add_trials("s", [trial()])
    study = optuna.load_study(study_name="s", storage=store.location.url_text)
    study.optimize(lambda t: (t.suggest_int("bits", 4, 8), t.suggest_float("percentile", 99.0, 100.0)), n_trials=2)
    assert [t.number for t in study.trials] == [0, 1, 2]
    assert store.add_trials("s", [trial()]) == [3]


def test_candidates_and_trials_are_one_transaction(store, new_study, candidate):
    store.create_study(new_study())
    study = store.optuna_study("mobilenet")
    store.add_trials("mobilenet", [trial(), trial()])
    written = store.record_candidates("mobilenet", [candidate(7), candidate(9)], trials=[trial(), trial()])
    assert [c.trial for c in written] == [2, 3]
    assert [c.trial for c in store.load("mobilenet").candidates] == [2, 3]
    broken = candidate(0, recipe=[{"step": object()}])
    with pytest.raises(StorageError, match="object has no JSON form"):
        store.record_candidates("mobilenet", [candidate(), broken], trials=[trial(), trial()])
    assert len(study.trials) == 4
    assert len(store.load("mobilenet").candidates) == 2
    with pytest.raises(ValueError, match="1 candidates but 2 trials"):
        store.record_candidates("mobilenet", [candidate()], trials=[trial(), trial()])


def test_a_study_of_other_objectives_is_refused(store):
    optuna.create_study(study_name="theirs", storage=store.location.url_text)
    with pytest.raises(StorageError, match=r"objectives .* not one of ours"):
        store.optuna_study("theirs")


def test_a_study_deleted_in_optuna_is_named(store, new_study, candidate):
    store.create_study(new_study())
    store.optuna_study("mobilenet")
    optuna.delete_study(study_name="mobilenet", storage=store.location.url_text)
    with pytest.raises(StorageError, match="Optuna has no study 'mobilenet'"):
        store.record_candidates("mobilenet", [candidate()], trials=[trial()])


def test_our_tables_join_an_optuna_database(tmp_path, new_study):
    path = tmp_path / "optuna.db"
    theirs = optuna.create_study(study_name="theirs", storage=f"sqlite:///{path}")
    theirs.add_trial(create_trial(value=1.0))
    with open_store(path) as store:
        store.create_study(new_study("ours"))
        assert [h.name for h in store.list_studies()] == ["ours"]
    assert optuna.load_study(study_name="theirs", storage=f"sqlite:///{path}").best_value == 1.0


def test_deleting_takes_both_and_nothing_else(store, new_study, candidate):
    for name in ("a", "b"):
        store.create_study(new_study(name))
        store.optuna_study(name)
        store.record_candidates(name, [candidate()], trials=[trial()])
        store.record_event(name, "search", "x")
    store.delete_study("a")
    assert [h.name for h in store.list_studies()] == ["b"]
    assert optuna.get_all_study_names(store.location.url_text) == ["b"]
    assert len(store.load("b").candidates) == len(store.load("b").events) == 1
    assert len(store.optuna_study("b").trials) == 1
    with store.engine.connect() as connection:
        for table in ("candidates", "operators", "layers", "events"):
            query = f"SELECT count(*) FROM autocompress_{table} WHERE study_id = 1"
            assert connection.exec_driver_sql(query).scalar_one() == 0
    store.create_study(new_study("a"))  # the name is free again
    optuna.delete_study(study_name="b", storage=store.location.url_text)
    store.delete_study("b")  # half gone already
    with pytest.raises(StorageError, match="no study 'b'"):
        store.delete_study("b")


def test_a_hundred_wide_trials_are_written_in_a_moment(store):
    wide = {f"layer{i}": PRECISION for i in range(100)}
    given = [trial(params=dict.fromkeys(wide, "int8"), distributions=wide) for _ in range(100)]
    store.optuna_study("s")
    begin = time.perf_counter()
    store.add_trials("s", given)
    assert time.perf_counter() - begin < 3.0  # Optuna's own way takes 6 s on the slowest machine at hand
