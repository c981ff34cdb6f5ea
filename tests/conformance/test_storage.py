"""One suite that every database must pass: what a search relies on when it runs, is killed, and goes on.

Set AUTOCOMPRESS_TEST_DATABASE to the URL of an empty database on a server to put it through the suite too.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest

from autocompress.store import CandidateRecord, NewStudy, open_store

BATCH = 7

WRITER = """
import sys
from optuna.distributions import CategoricalDistribution
from optuna.trial import create_trial
from autocompress.store import CandidateRecord, open_store

place, name, batch = sys.argv[1], sys.argv[2], int(sys.argv[3])
layers = {f"layer{i}": CategoricalDistribution(["int8", "fp32"]) for i in range(30)}
with open_store(place) as store:
    store.optuna_study(name)
    print("ready", flush=True)
    while True:
        trials = [
            create_trial(values=[0.01, 3.0], params=dict.fromkeys(layers, "int8"), distributions=layers)
            for _ in range(batch)
        ]
        records = [CandidateRecord(0, "ab", [{"step": "fold", "pad": "x" * 2000}], "seed", "complete")] * batch
        store.record_candidates(name, records, trials=trials)
"""


def _sqlite(folder: Path) -> str:
    return str(folder / "autocompress.db")


def _server(folder: Path) -> str:
    return os.environ["AUTOCOMPRESS_TEST_DATABASE"]


KINDS: dict[str, Callable[[Path], str]] = {"sqlite": _sqlite}
if "AUTOCOMPRESS_TEST_DATABASE" in os.environ:
    KINDS["server"] = _server


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    where = KINDS[request.param](tmp_path)
    yield where
    if request.param == "server":
        with open_store(where) as store:
            for header in store.list_studies():
                store.delete_study(header.name)


def study(name: str = "s") -> NewStudy:
    return NewStudy(name, "f" * 64, "m.onnx", 10**10, "onnxruntime", "1.31", "cpu", 1, 1, "top1", {"seed": 0})


def candidate(trial: int) -> CandidateRecord:
    return CandidateRecord(trial, f"{trial:x}", [{"step": "fold"}], "explore", "complete", size_bytes=2**40 + trial)


def finished() -> optuna.trial.FrozenTrial:
    return optuna.trial.create_trial(values=[0.1, 2.0], constraints={"accuracy_drop": 0.09})


def test_a_study_lives_and_dies(place: str) -> None:
    with open_store(place) as store:
        store.create_study(study())
        store.optuna_study("s")
        store.record_candidates("s", [candidate(0), candidate(0)], trials=[finished(), finished()])
        store.record_candidates("s", [candidate(1)])
        store.finish_study("s", status="complete", stop_reason="done", summary={"target_met": False})
    with open_store(place, create=False) as store:
        record = store.load("s")
        assert record.candidates == (CandidateRecord(**{**vars(candidate(0)), "trial": 0}), candidate(1))
        assert record.header.summary == {"target_met": False}
        loaded = optuna.load_study(study_name="s", storage=store.location.url_text)
        assert [t.constraints for t in loaded.trials] == [{"accuracy_drop": 0.09}] * 2
        store.delete_study("s")
        assert store.list_studies() == ()


def test_threads_share_a_store(place: str) -> None:
    with open_store(place) as store:
        store.create_study(study())
        store.optuna_study("s")
        errors: list[BaseException] = []

        def write() -> None:
            try:
                for _ in range(5):
                    store.record_candidates("s", [candidate(0)], trials=[finished()])
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=write) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert [c.trial for c in store.load("s").candidates] == list(range(20))
        assert [t.number for t in store.optuna_study("s").trials] == list(range(20))


def test_two_first_runs_at_once(place: str) -> None:
    code = (
        "import sys; from autocompress.store import open_store\n"
        "with open_store(sys.argv[1]) as s: s.optuna_study(sys.argv[2])"
    )
    runs = [
        subprocess.Popen([sys.executable, "-c", code, place, name], stderr=subprocess.PIPE, text=True)
        for name in ("a", "b")
    ]
    for run in runs:
        _, complaint = run.communicate(timeout=60)
        assert run.returncode == 0, complaint
    with open_store(place) as store:
        assert {"a", "b"} <= set(optuna.get_all_study_names(store.location.url_text))


@pytest.mark.parametrize("delay_s", [0.0, 0.07, 0.19])
def test_a_killed_writer_leaves_whole_batches(place: str, delay_s: float) -> None:
    with open_store(place) as store:
        store.create_study(study())
    writer = subprocess.Popen([sys.executable, "-c", WRITER, place, "s", str(BATCH)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"ready\n"
    time.sleep(delay_s)
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    with open_store(place) as store:
        record = store.load("s")
        trials = store.optuna_study("s").trials
        assert [c.trial for c in record.candidates] == [t.number for t in trials] == list(range(len(trials)))
        assert len(trials) % BATCH == 0
        assert all(len(t.params) == 30 and t.values == [0.01, 3.0] for t in trials)
        if store.location.path is not None:
            with sqlite3.connect(store.location.path) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        store.record_candidates("s", [candidate(0)], trials=[finished()])  # and it goes on
