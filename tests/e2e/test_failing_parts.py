"""What fails only while a run is under way: samples, outputs, metrics, databases."""

from __future__ import annotations

import sqlite3
import threading

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from small_world import digest, images, own_labels

# ``count`` tells calls apart, across processes; the first ones are those on the original model.
METRICS = """
import os, pathlib
import numpy as np

def count():
    calls = pathlib.Path(__file__).with_name("calls")
    n = len(calls.read_text()) if calls.exists() else 0
    calls.write_text("x" * (n + 1))
    return n

def hits(outputs, data):
    return (outputs["scores"].argmax(1) == data["labels"]).astype(float)

def raises(outputs, data):
    raise ValueError("three\\nlines\\nlong")

def nan(outputs, data):
    return float("nan")

def leaves(outputs, data):
    raise SystemExit(0)

def prints_and_crashes_on_two_candidates(outputs, data):
    print("a line that is no JSON")
    n = count()
    if n == CANDIDATE:
        os.abort()
    if n == CANDIDATE + 2:
        raise ValueError("no boxes")
    return hits(outputs, data)
"""


def spoil_sample(home):
    x = images(60)
    x[40, 0, 0, 0] = np.nan
    np.savez(home.folder / "d.npz", x=x)


def label_outside(home):
    labels = own_labels(home.folder / "m.onnx", images(60))
    labels[7] = 9
    np.savez(home.folder / "d.npz", x=images(60), labels=labels)


def infinite_output(home):
    model = onnx.load(home.folder / "m.onnx")
    model.graph.initializer.append(numpy_helper.from_array(np.float32(1e38), "huge"))
    model.graph.node.append(helper.make_node("Mul", ["scores", "huge"], ["large"]))
    model.graph.node.append(helper.make_node("Exp", ["large"], ["infinite"]))
    model.graph.output[0].name = "infinite"
    onnx.save(model, home.folder / "m.onnx")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "arguments", "word"),
    [
        (spoil_sample, (), "NaN at sample 40"),
        (label_outside, (), "Label 9 at sample 7"),
        (infinite_output, (), "Inf"),
        (None, ("--metric", "mine:raises"), "ValueError: three lines long"),
        (None, ("--metric", "mine:nan"), "NaN"),
        (None, ("--metric", "mine:leaves"), "SystemExit"),
        (None, ("--metric", "mine:absent"), "absent"),
    ],
)
def test_one_sentence_and_the_older_result_stays(home, spoil, arguments, word):
    (home.folder / "mine.py").write_text(METRICS)
    if spoil is not None:
        spoil(home)
    before = digest(home.old_result)
    refused = home.run("--study", "s", *arguments)
    assert refused.code == 2, refused.err
    assert word in refused.sentence
    assert digest(home.old_result) == before
    shown = home.shell.call("study", "show", "s", "--storage", "s.db", "--json").document
    assert shown["status"] == "failed"
    assert word.split()[0] in shown["stop_reason"]


@pytest.mark.slow
def test_candidates_that_crash_or_cannot_be_judged_are_failed_trials(home):
    (home.folder / "mine.py").write_text(METRICS.replace("CANDIDATE", str(calls_before_candidates(home))))
    metric = ("--metric", "mine:prints_and_crashes_on_two_candidates")
    done = home.run("--trials", "4", "--study", "s", "--search-space", "mixed_precision", "--json", *metric)
    assert done.code == 0, done.err
    assert done.document["trials"]["failed"] == 2
    trials = home.shell.call("study", "trials", "s", "--storage", "s.db", "--json").document["trials"]
    causes = [trial["reason"] for trial in trials if trial["state"] == "failed"]
    assert any("SIGABRT" in cause for cause in causes)
    assert any("no boxes" in cause for cause in causes)


def calls_before_candidates(home) -> int:
    """How often a run that finds nothing to do with its candidates asks the metric about the original model."""
    (home.folder / "mine.py").write_text(METRICS.replace("CANDIDATE", "-9"))
    process = home.shell.start("run", *home.short(), "--metric", "mine:prints_and_crashes_on_two_candidates")
    from small_world import interrupt_when

    interrupt_when(process, "screen schemes: done")
    process.kill()
    process.communicate(timeout=30)
    calls = home.folder / "calls"
    n = len(calls.read_text())
    calls.unlink()
    return n


@pytest.mark.slow
def test_locked_database(home):
    before = digest(home.old_result)
    connection = sqlite3.connect(home.folder / "s.db", isolation_level=None, check_same_thread=False)
    connection.execute("begin exclusive")
    unlock = threading.Timer(60, connection.close)
    unlock.start()
    try:
        refused = home.run()
    finally:
        unlock.cancel()
        connection.close()
    assert refused.code == 2
    assert "locked" in refused.sentence
    assert digest(home.old_result) == before


def test_database_of_a_newer_version(first_run, home):
    with sqlite3.connect(home.folder / "s.db") as newer:
        sqlite3.connect(first_run.home.folder / "s.db").backup(newer)
        newer.execute("update autocompress_schema_version set version = 999")
    newer.close()
    before = digest(home.folder)
    refused = home.run()
    assert refused.code == 2
    assert "newer" in refused.sentence
    assert digest(home.folder) == before
