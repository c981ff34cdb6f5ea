"""What a run does not reach, it says; what it is asked to repeat, it repeats to the byte."""

from __future__ import annotations

import csv

import pytest


def test_a_target_out_of_reach_is_refused_with_the_best_that_holds(home):
    done = home.run_here("--runtime", "replay", "--target-speedup", "60x", "--json")
    assert done.code == 3, done.err
    summary = done.document
    assert summary["target_met"] is False
    assert "60x" in summary["reason"]
    assert summary["best"]["speedup"] > 1
    assert (home.old_result / "best.onnx").stat().st_size == summary["best"]["size_bytes"]


@pytest.mark.slow
def test_deterministic_runs_agree_to_the_byte_however_they_are_disturbed(home):
    """Both at once, so that their clocks do not agree."""
    given = ("m.onnx", "--data", "d.npz", "--search-space", "small.yaml", "--deterministic", "--trials", 4, "--seed", 3)
    begun = [
        home.shell.start("run", *given, "--quiet", "--output", name, "--storage", f"{name}.db")
        for name in ("one", "two")
    ]
    for process in begun:
        _, said = process.communicate(timeout=120)
        assert process.returncode in (0, 3), said
    found = []
    for name in ("one", "two"):
        with (home.folder / name / "trials.csv").open(newline="") as file:
            trials = [(row["trial"], row["recipe_hash"], row["state"]) for row in csv.DictReader(file)]
        found.append((trials, (home.folder / name / "best.onnx").read_bytes()))
    assert found[0] == found[1]
    assert len(found[0][0]) >= 3
