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
import pytest

from autocompress.bundled import bundled_example

pytestmark = pytest.mark.slow


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


def test_the_target_is_met_within_the_accuracy_that_may_be_lost(run):
    folder, summary, _ = run
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
