"""The newcomer's first command, and what it leaves behind."""

from __future__ import annotations

import csv
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import optuna
import pytest

from autocompress.bundled import bundled_example

KEYS = {
    "": "study runtime device threads metric target_speedup target_met baseline best trials seconds estimator seed "
    "versions",
    "baseline": "accuracy n latency_ms size_bytes",
    "best": "accuracy accuracy_drop accuracy_drop_ci95 n latency_ms latency_estimate_ms speedup speedup_ci95 "
    "size_bytes model recipe",
    "trials": "total complete pruned failed built",
    "seconds": "total baseline calibrate profile search verify",
    "estimator": "coverage mape_verified",
}


def _autocompress(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "autocompress", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=280, check=False)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundled")
    before = {path: path.read_bytes() for path in vars(bundled_example()).values()}
    done = _autocompress("run", "--trials", 4, "--json", "--output", "out", "--storage", "study.db", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert {path: path.read_bytes() for path in before} == before
    return folder, json.loads(done.stdout), done.stderr


def test_the_summary_carries_what_was_promised(run):
    folder, summary, _ = run
    for part, keys in KEYS.items():
        document = summary if not part else summary[part]
        assert set(keys.split()) <= set(document), part
    assert summary == json.loads((folder / "out" / "summary.json").read_text())
    assert summary["target_met"] is True
    assert summary["best"]["speedup"] >= summary["target_speedup"] == 2.0
    assert summary["best"]["accuracy_drop"] <= 0.01
    assert summary["best"]["n"] == summary["baseline"]["n"] > 200
    assert summary["seconds"]["total"] >= sum(summary["seconds"][k] for k in ("baseline", "calibrate", "search")) - 0.5


def test_the_model_runs_in_stock_onnxruntime_and_keeps_its_accuracy(run):
    folder, summary, _ = run
    path = folder / "out" / "best.onnx"
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert max(entry.version for entry in model.opset_import if not entry.domain) <= 21
    assert model.ir_version == 10
    assert path.stat().st_size == summary["best"]["size_bytes"] < summary["baseline"]["size_bytes"] / 3
    split = json.loads((folder / "out" / "split.json").read_text())
    data = np.load(bundled_example().data)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    import yaml

    settings = yaml.safe_load(bundled_example().preprocess.read_text())
    images = data["image"][split["verification"]].astype(np.float32)
    images = images * np.float32(np.ravel(settings["scale"])[0]) + np.float32(np.ravel(settings["bias"])[0])
    hits = [session.run(None, {"image": image[None]})[0].argmax() for image in images] == data["labels"][
        split["verification"]
    ]
    assert hits.mean() == pytest.approx(summary["best"]["accuracy"], abs=0.005)


def test_every_file_is_there_and_nothing_else(run):
    folder, _, _ = run
    names = {path.name for path in (folder / "out").iterdir()}
    expected = "best.onnx recipe.json summary.json report.html pareto.png trials.csv split.json"
    assert names == set(expected.split())
    assert (folder / "out" / "pareto.png").read_bytes()[:4] == b"\x89PNG"
    with (folder / "out" / "trials.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) >= 4


def test_apply_gives_the_same_bytes(run):
    folder, _, _ = run
    done = _autocompress("apply", "out/recipe.json", bundled_example().model, "-o", "again.onnx", cwd=folder)
    assert done.returncode == 0, done.stderr
    same = {hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ("again.onnx", "out/best.onnx")}
    assert len(same) == 1


def test_the_study_opens_in_stock_optuna(run):
    folder, summary, _ = run
    study = optuna.load_study(study_name=summary["study"], storage=f"sqlite:///{folder / 'study.db'}")
    complete = [trial for trial in study.trials if trial.state == optuna.trial.TrialState.COMPLETE]
    assert len(complete) == summary["trials"]["complete"]
    assert all(len(trial.values) == 2 and "accuracy_drop" in trial.constraints for trial in complete)
    assert study.best_trials


def test_a_target_out_of_reach_is_refused_honestly(run):
    folder, _, _ = run
    done = _autocompress(
        "run", bundled_example().model, "--data", bundled_example().data, "--preprocess", bundled_example().preprocess,
        "--target-speedup", "60x", "--trials", 3, "--json", "--output", "far", "--storage", "study.db", cwd=folder,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    summary = json.loads(done.stdout)
    assert summary["target_met"] is False
    assert "60x" in summary["reason"]
    assert summary["best"]["speedup"] > 1
    assert (folder / "far" / "best.onnx").exists()


def test_deterministic_runs_agree_to_the_byte(run):
    folder, _, _ = run
    found = []
    for name in ("one", "two"):
        options = ["--deterministic", "--trials", 7, "--seed", 3, "--quiet"]
        done = _autocompress("run", *options, "--output", name, "--storage", f"{name}.db", cwd=folder)
        assert done.returncode == 0, done.stderr
        with (folder / name / "trials.csv").open(newline="") as file:
            trials = [(row["trial"], row["recipe_hash"], row["state"]) for row in csv.DictReader(file)]
        found.append((trials, (folder / name / "best.onnx").read_bytes()))
    assert found[0] == found[1]
