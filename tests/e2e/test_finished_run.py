"""What a run leaves behind: its document, its model, its recipe, its study."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from small_world import digest

KEYS = {
    "study", "runtime", "device", "threads", "metric", "target_speedup", "target_met", "baseline", "best", "trials",
    "seconds", "estimator", "seed", "versions",
}  # fmt: skip
PARTS = {
    "baseline": {"accuracy", "n", "latency_ms", "size_bytes"},
    "best": {
        "accuracy", "accuracy_drop", "accuracy_drop_ci95", "n", "latency_ms", "latency_estimate_ms", "speedup",
        "speedup_ci95", "size_bytes", "model", "recipe",
    },
    "trials": {"total", "complete", "pruned", "failed", "built"},
    "seconds": {"total", "baseline", "calibrate", "profile", "search", "verify"},
    "estimator": {"coverage", "mape_verified"},
}  # fmt: skip
FILES = {"best.onnx", "recipe.json", "summary.json", "report.html", "pareto.png", "trials.csv", "split.json"}

# What a person without autocompress does with the result.
PLAIN_USE = """
import json, sys
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("out/best.onnx", providers=["CPUExecutionProvider"])
data = np.load("d.npz")
chosen = json.load(open("out/split.json"))["verification"]
hits = [session.run(None, {"x": data["x"][i : i + 1]})[0].argmax() == data["labels"][i] for i in chosen]
assert "autocompress" not in sys.modules
print(json.dumps({"accuracy": float(np.mean(hits)), "n": len(hits)}))
"""


@pytest.fixture
def summary(first_run) -> dict:
    return first_run.done.document


def test_ends_well_and_says_one_document(first_run, summary):
    assert first_run.done.code == (0 if summary["target_met"] else 3), first_run.done.err
    assert json.loads((first_run.home.old_result / "summary.json").read_text()) == summary


def test_the_document_has_every_promised_key(summary):
    assert set(summary) >= KEYS
    for part, keys in PARTS.items():
        assert keys <= set(summary[part]), part


def test_the_document_agrees_with_itself(summary):
    baseline, best, trials = summary["baseline"], summary["best"], summary["trials"]
    assert 0 <= baseline["accuracy"] <= 1
    assert best["accuracy_drop"] == pytest.approx(baseline["accuracy"] - best["accuracy"])
    low, high = best["accuracy_drop_ci95"]
    assert low <= best["accuracy_drop"] <= high
    low, high = best["speedup_ci95"]
    assert low <= best["speedup"] <= high
    assert summary["target_met"] == (best["speedup"] >= 1.1 and best["accuracy_drop"] <= 0.01)
    assert trials["complete"] <= 2
    assert trials["total"] == trials["complete"] + trials["pruned"] + trials["failed"]
    seconds = summary["seconds"]
    assert sum(seconds[name] for name in ("baseline", "calibrate", "profile", "search", "verify")) <= seconds["total"]
    assert summary["estimator"]["coverage"] == pytest.approx(1.0)


def test_the_folder_holds_the_result_and_nothing_else(first_run):
    assert {path.name for path in first_run.home.old_result.iterdir()} == FILES


def test_the_users_files_are_as_they_were(first_run):
    assert {name: digest(first_run.home.folder / name) for name in first_run.before} == first_run.before


def test_the_model_is_plain_onnx(first_run, summary):
    path = first_run.home.old_result / "best.onnx"
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version == 10
    assert {opset.domain: opset.version for opset in model.opset_import}[""] <= 21
    assert {opset.domain for opset in model.opset_import} <= {""}
    assert path.stat().st_size == summary["best"]["size_bytes"]


def test_without_us_the_model_is_as_accurate_as_reported(first_run, summary):
    alone = first_run.home.shell.python(PLAIN_USE)
    assert alone.code == 0, alone.err
    assert alone.document == {"accuracy": pytest.approx(summary["best"]["accuracy"]), "n": summary["best"]["n"]}


def test_measured_again_the_model_is_as_fast_as_reported(first_run, summary):
    again = first_run.home.shell.call("measure", "m.onnx", "out/best.onnx", "--budget", "2s", "--json").document
    assert again["speedup"] == pytest.approx(summary["best"]["speedup"], rel=0.25)
    assert again["b"]["latency_ms"] == pytest.approx(summary["best"]["latency_ms"], rel=0.25)


def test_the_estimate_of_the_recipe_is_near_what_was_measured(first_run, summary):
    found = first_run.home.shell.call_here("estimate", "m.onnx", "--recipe", "out/recipe.json", "--json").document
    assert {"latency_ms", "interval90_ms", "coverage", "nodes"} <= set(found)
    low, high = found["interval90_ms"]
    assert low <= found["latency_ms"] <= high
    assert found["latency_ms"] == pytest.approx(summary["best"]["latency_ms"], rel=0.5)


def test_the_recipe_gives_the_same_bytes_from_anywhere(first_run, tmp_path):
    folder, shell = first_run.home.folder, first_run.home.shell
    elsewhere = type(shell)(tmp_path, shell.cache)
    recipe, model = folder / "out" / "recipe.json", folder / "m.onnx"
    given = elsewhere.call_here("apply", recipe, model, "-o", "again.onnx", "--json")
    assert given.document["sha256"] == digest(folder / "out" / "best.onnx") == digest(tmp_path / "again.onnx")


def test_the_study_opens_in_stock_optuna(first_run, summary):
    import optuna

    study = optuna.load_study(study_name="first", storage=f"sqlite:///{first_run.home.folder / 's.db'}")
    assert len(study.trials) == summary["trials"]["total"]
    complete = [trial for trial in study.trials if trial.state == optuna.trial.TrialState.COMPLETE]
    assert len(complete) == summary["trials"]["complete"] > 0
    for trial in complete:
        drop, latency_ms = trial.values
        assert latency_ms > 0
        assert trial.constraints["accuracy_drop"] == pytest.approx(drop - 0.01)
        assert trial.params["activation_range"] in ("min_max", "percentile")
        assert {value for name, value in trial.params.items() if name.startswith("precision/")} <= {"fp32", "int8"}
    assert {trial.number for trial in study.best_trials} <= {trial.number for trial in complete}
    assert np.isfinite([trial.values for trial in complete]).all()


def test_every_study_command_says_one_document(first_run, tmp_path):
    call, storage = first_run.home.shell.call_here, ("--storage", "s.db", "--json")
    listed = call("study", "list", *storage).document["studies"]
    assert [row["study"] for row in listed] == ["first"]
    assert call("study", "show", "first", *storage).document["status"] == "complete"
    trials = call("study", "trials", "first", *storage).document["trials"]
    assert [trial["number"] for trial in trials] == list(range(len(trials)))
    best = call("study", "best", "first", *storage).document
    assert best["speedup"] == first_run.done.document["best"]["speedup"]
    call("study", "export", "first", "-o", tmp_path / "study.json", *storage)
    assert json.loads((tmp_path / "study.json").read_text())
    report = call("report", "first", "--format", "html,png,csv,json,md", "-o", tmp_path / "report", *storage)
    assert len(report.document["files"]) == 5
    assert {str(path) for path in (tmp_path / "report").iterdir()} == set(report.document["files"])


def test_a_name_is_taken_once(first_run):
    refused = first_run.home.run_here("--study", "first")
    assert refused.code == 2
    assert "--resume" in refused.sentence


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (("--target-speedup", "3x"), "target_speedup"),
        (("--target-speedup", "1.1x", "--max-accuracy-drop", "5%"), "max_accuracy_drop"),
    ],
)
def test_a_study_is_not_resumed_with_another_budget(first_run, changed, named):
    before = digest(first_run.home.old_result)
    refused = first_run.home.run_here("--study", "first", "--resume", *changed)
    assert refused.code == 2
    assert named in refused.sentence
    assert digest(first_run.home.old_result) == before


def test_a_study_is_not_resumed_with_another_model(first_run):
    from small_world import save_classifier

    save_classifier(first_run.home.folder / "other.onnx", channels=8)
    short = first_run.home.short()
    refused = first_run.home.shell.call_here("run", "other.onnx", *short[1:], "--study", "first", "--resume")
    assert refused.code == 2
    assert "another model" in refused.sentence
