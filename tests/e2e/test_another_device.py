"""Searching here for a device that is elsewhere: with its table alone, and with a command that reaches it."""

from __future__ import annotations

import csv
import json
import sqlite3
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from small_world import Finished

from autocompress.latency.device import Device
from autocompress.latency.locate import shipped_tables
from autocompress.latency.table import LatencyTable

NOT_VERIFIED = "estimated, not verified"
BENCH = """
import json, pathlib, sys, time
mode, path = sys.argv[1:]
quantized = b"QuantizeLinear" in pathlib.Path(path).read_bytes()
with open("calls", "a") as file:
    file.write("int8 " if quantized else "float ")
if mode == "hangs":
    time.sleep(60)
if mode == "fails":
    sys.exit("the board is off")
if mode == "fails-later" and quantized:
    sys.exit("the board is off")
if mode == "nan":
    print('{"latency_ms": NaN}')
elif mode == "garbage":
    print("3.5 ms")
else:
    print("warming up", json.dumps({"latency_ms": 9.0 / (float(mode) if quantized else 1.0), "repeats": 4}))
"""


@pytest.fixture(scope="session")
def board(tmp_path_factory) -> Path:
    """A small table of another device, on which everything takes five times as long."""
    shipped = LatencyTable.load(next(p for p in shipped_tables() if "onnxruntime" in p.name))
    kept = [replace(r, median_us=5 * r.median_us, minimum_us=5 * r.minimum_us) for r in list(shipped)[::20] if r.valid]
    device = Device("arm", "8-d0c", "Board X", ("asimddp", "neon"), 4)
    constants = {n: 5 * v if n == "launch_us" else v / 5 for n, v in shipped.header.constants.items()}
    path = tmp_path_factory.mktemp("board") / "board.jsonl"
    LatencyTable(replace(shipped.header, device=device, threads=2, constants=constants), kept).save(path)
    return path


@pytest.fixture
def bench(home) -> str:
    (home.folder / "bench.py").write_text(BENCH)
    return f"'{sys.executable}' bench.py"


def trials_of(home) -> list[dict[str, str]]:
    with (home.old_result / "trials.csv").open() as file:
        return list(csv.DictReader(file))


def rows_of(home, query: str) -> list[Any]:
    with sqlite3.connect(home.folder / "s.db") as connection:
        return connection.execute(query).fetchall()


def test_with_a_table_alone_the_result_is_estimated_and_marked_everywhere(home, board):
    done = home.run_here("--target-speedup", "1.2x", "--latency-table", board, "--study", "first")
    assert done.code == 4
    assert f"Target met by the estimate only: {_speedup(home):.2f}× faster, {NOT_VERIFIED}" in done.out
    assert f"latency, {NOT_VERIFIED}" in done.out
    _check_summary(json.loads((home.old_result / "summary.json").read_text()))
    finalists = [t for t in trials_of(home) if t["verified_drop"]]
    assert finalists
    for trial in trials_of(home):
        assert not any(trial[name] for name in ("verified_speedup", "verified_latency_ms", "search_speedup"))
        assert not trial["search_latency_ms"]
        assert trial["latency_status"] == NOT_VERIFIED
        low, speedup, high = (
            float(trial[f"estimated_speedup{end}"]) for end in ("_interval90_low", "", "_interval90_high")
        )
        assert low < speedup < high
    page = (home.old_result / "report.html").read_text()
    assert f"Speedup, {NOT_VERIFIED}" in page
    assert "Target met by the estimate only" in page
    assert "timed in turns" not in page
    markdown = home.shell.call_here("report", "first", "--storage", "s.db", "--format", "md", "-o", "md")
    assert markdown.code == 0, markdown.err
    assert NOT_VERIFIED in (home.folder / "md" / "report.md").read_text()
    columns = "latency_status, verified_speedup, search_speedup"
    marks = rows_of(home, f"SELECT DISTINCT {columns} FROM autocompress_candidates")
    assert marks == [(NOT_VERIFIED, None, None)]
    stock = optuna.load_study(study_name="first", storage=f"sqlite:///{home.folder / 's.db'}")
    assert all(t.user_attrs["latency_is_estimated"] for t in stock.trials if t.values)
    listed = home.shell.call_here("study", "list", "--storage", "s.db", "--json").document["studies"][0]
    assert (listed["latency_status"], listed["speedup"], listed["target_met"]) == (NOT_VERIFIED, None, False)


def _speedup(home) -> float:
    return json.loads((home.old_result / "summary.json").read_text())["best"]["speedup_estimate"]


def _check_summary(summary: dict[str, Any]) -> None:
    best, baseline = summary["best"], summary["baseline"]
    assert (summary["target_met"], summary["target_met_by_estimate"]) == (False, True)
    assert best["latency_status"] == NOT_VERIFIED
    assert best["latency_ms"] is best["speedup"] is best["speedup_ci95"] is baseline["latency_ms"] is None
    assert best["speedup_estimate"] == pytest.approx(baseline["latency_estimate_ms"] / best["latency_estimate_ms"])
    low, high = best["speedup_estimate_interval90"]
    assert low < best["speedup_estimate"] < high
    assert best["accuracy_drop_ci95"][0] <= best["accuracy_drop"] <= best["accuracy_drop_ci95"][1]
    assert "Board X" in summary["device"]
    assert summary["threads"] == 2
    assert summary["estimator"]["mape_verified"] is None
    assert any("nothing is timed here" in notice for notice in summary["notices"])
    assert any("comes from operators that the latency table has" in notice for notice in summary["notices"])


def test_a_target_beyond_the_estimate_is_not_reached(home, board):
    done = home.run_here("--target-speedup", "50x", "--latency-table", board, "--json")
    assert done.code == 3
    assert (done.document["target_met"], done.document["target_met_by_estimate"]) == (False, False)
    assert NOT_VERIFIED in done.document["reason"]


def test_a_command_makes_it_measured(home, board, bench):
    command = ("--latency-table", board, "--verify-command", f"{bench} 2.5 {{model}}", "--verify-timeout", "30s")
    done = home.run("--target-latency", "4ms", *command, "--json", "--study", "first")
    assert done.code == 0, done.err
    summary = done.document
    assert (summary["target_met"], summary["target_met_by_estimate"]) == (True, False)
    assert summary["verify_command"] == f"{bench} 2.5 {{model}}"
    best = summary["best"]
    assert (best["latency_status"], best["speedup"], best["latency_ms"]) == ("measured by command", 2.5, 3.6)
    assert summary["baseline"]["latency_ms"] == 9.0
    assert best["latency_estimate_ms"] > 0
    calls = (home.folder / "calls").read_text().split()
    assert calls[:7] == ["float", "float", "int8", "int8", "float", "float", "int8"]
    assert {t["latency_status"] for t in trials_of(home)} == {"measured by command", NOT_VERIFIED}
    assert not any(t["search_speedup"] for t in trials_of(home))
    page = (home.old_result / "report.html").read_text()
    assert "timed by the verify command" in page
    assert "Speedup, measured by command" in page
    assert summary["trials"]["verified"] == 1


def test_a_command_says_the_target_is_missed_although_the_estimate_meets_it(home, board, bench):
    command = ("--latency-table", board, "--verify-command", f"{bench} 1.05")
    done = home.run_here("--target-speedup", "1.2x", *command, "--json")
    assert done.code == 3
    assert done.document["best"]["speedup"] == pytest.approx(1.05)
    assert done.document["best"]["speedup_estimate"] > 1.2


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("fails", "failed with exit code 1 (it said: the board is off)"),
        ("hangs", "did not end within 3 s"),
        ("nan", "latency_ms is nan"),
        ("garbage", "no JSON object"),
    ],
)
def test_a_wrong_command_is_refused_before_the_search(mode, said, home, board, bench):
    options = ("--latency-table", board, "--verify-command", f"{bench} {mode}", "--verify-timeout", "3s")
    done = home.run_here("--target-speedup", "1.2x", *options)
    assert done.code == 2
    assert said in done.sentence
    assert (home.folder / "calls").read_text() == "float "
    assert not (home.folder / "s.db").exists()
    assert (home.old_result / "best.onnx").read_text() == "an older result"


def test_finalists_that_the_command_fails_on_are_failed_trials_and_get_another_chance(home, board, bench):
    def run(mode: str, *more: str) -> Finished:
        command = ("--latency-table", board, "--verify-command", f"{bench} {mode}")
        return home.run_here("--target-speedup", "1.2x", *command, "--study", "first", *more)

    failed = run("fails-later", "--json")
    assert failed.code == 3
    assert failed.document["best"]["unchanged"]
    assert failed.document["trials"]["failed"] > 0
    causes = [t["cause"] for t in trials_of(home) if t["state"] == "failed"]
    assert all("the board is off" in cause for cause in causes)
    assert any("was left out: verification failed" in notice for notice in failed.document["notices"])
    again = run("2.0", "--json", "--resume")
    assert again.code == 0, again.err
    assert again.document["best"]["speedup"] == pytest.approx(2.0)


def test_a_study_of_estimates_is_verified_when_it_is_resumed_with_a_command(home, board, bench):
    options = {"latency_table": str(board), "target_speedup": "1.2x", "study": "first"}
    (home.folder / "run.yaml").write_text(yaml.safe_dump(options))
    assert home.run_here("--config", "run.yaml").code == 4
    options |= {"verify_command": f"{bench} 1.5 {{model}}", "verify_timeout": "20s"}
    (home.folder / "run.yaml").write_text(yaml.safe_dump(options))
    done = home.run_here("--config", "run.yaml", "--resume", "--json")
    assert done.code == 0, done.err
    assert done.document["best"]["latency_status"] == "measured by command"
    shown = home.shell.call_here("study", "show", "first", "--storage", "s.db", "--json").document
    assert shown["summary"]["verify_command"] == f"{bench} 1.5 {{model}}"
    assert shown["config"]["latency_table"] == str(board)


def test_a_study_that_was_timed_here_does_not_take_a_command(home, bench):
    timed = ("--runtime", "replay", "--target-speedup", "1.1x", "--study", "first")
    assert home.run_here(*timed).code in (0, 3)
    done = home.run_here(*timed, "--resume", "--verify-command", f"{bench} 2.0")
    assert done.code == 2
    assert "verify_command" in done.sentence


def test_a_table_of_another_runtime_is_refused(home, board):
    done = home.run_here("--latency-table", board, "--runtime", "replay")
    assert done.code == 2
    assert "give --runtime onnxruntime" in done.sentence
