"""The side-by-side comparison on a small evaluation set, with the tools that are installed here."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import goals
import numpy as np
import ptq_accuracy
import pytest
from evalset_inputs import prepare
from goals import Goal, goal_for, read_goals
from ptq_methods.case import Built, Case, Method, make_case
from ptq_methods.judging import Judge, bootstrap_draws
from ptq_methods.listing import METHODS, TOOLS
from ptq_methods.search_run import SearchFailed, build_by_search


def compare(evalset: Path, tmp_path: Path, *extra: str) -> tuple[int, dict, str]:
    arguments = ["--evalset", str(evalset), "--json", str(tmp_path / "ptq.json"), "--timing-seconds", "0.2"]
    arguments += ["--markdown", str(tmp_path / "ptq.md"), "--samples", "6", "--threads", "1"]
    code = ptq_accuracy.main([*arguments, *extra])
    return code, json.loads((tmp_path / "ptq.json").read_text()), (tmp_path / "ptq.md").read_text()


def test_ours_and_a_peer_side_by_side(evalset: Path, tmp_path: Path) -> None:
    chosen = ["--tools", "ours,onnxruntime", "--methods", "min-max,equalization*"]
    code, document, text = compare(evalset, tmp_path, *chosen)
    assert code == 0
    assert document["calibration_samples"] == 6
    rows = document["results"]
    assert [row["tool"] for row in rows] == ["ours", "ours", "onnxruntime"]
    for row in rows:
        assert row["problem"] is None
        assert row["judged"]["accuracy"]["baseline"] == 0.75
        assert row["judged"]["accuracy"]["n"] == 40
        assert row["judged"]["accuracy_held"]["n"] == 20
        assert row["judged"]["accuracy_held"]["baseline"] == 1.0
        assert row["judged"]["size_ratio"] > 1.5
        assert row["cpu_s"] > 0
        assert f"| {row['tool']} | {row['method']} | 0.7500 |" in text
    assert "40 samples, 20 of them held; goal: drop at most 0.01 at 2x or better" in text


def test_tools_that_are_not_installed_are_listed(evalset: Path, tmp_path: Path) -> None:
    code, document, text = compare(evalset, tmp_path, "--tools", "nncf,aimet", "--peer-python", sys.executable)
    assert code == 0, "a tool that is not there is no failure"
    assert {row["tool"] for row in document["results"]} == {"nncf", "aimet"}
    assert not any(row["installed"] for row in document["results"])
    assert text.count("not installed") == len(document["results"])


def test_what_fails_is_told_and_the_others_go_on(
    evalset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(case: Case, target: Path) -> Built:
        raise RuntimeError("no idea")

    def copies(case: Case, target: Path) -> Built:
        target.write_bytes(case.judged.model.read_bytes())
        return Built(0.0, "1", ("nothing was done",))

    monkeypatch.setattr(ptq_accuracy, "METHODS", (Method("ours", "fails", fails), Method("ours", "copies", copies)))
    code, document, text = compare(evalset, tmp_path)
    assert code == 1
    failed, copied = document["results"]
    assert failed["problem"] == "ours, fails: RuntimeError: no idea"
    assert failed["problem"] in text
    assert copied["judged"]["accuracy"]["drop"] == 0.0
    assert copied["goal_met"] == "speed"
    assert "- ours, copies: nothing was done" in text


def test_every_tool_gets_the_same_leading_samples(evalset: Path, tmp_path: Path) -> None:
    case = make_case(evalset / "tiny", tmp_path / "work", Goal(0.01), calibration_samples=3)
    with np.load(case.given.calibration) as raw, np.load(case.calibration) as ready:
        assert raw["image"].shape == ready["image"].shape == (3, 2, 16, 16)
        assert ready["image"].dtype == np.float32
    assert case.held.tolist() == list(range(20, 40))


def test_a_search_that_gives_no_model_says_why(evalset: Path, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text(f"#!{sys.executable}\nimport sys\nprint('first')\nsys.exit('the last words')")
    program.chmod(0o755)
    case = make_case(evalset / "tiny", tmp_path / "work", Goal(0.01, 2.0), autocompress=str(program))
    with pytest.raises(SearchFailed, match="exit code 1: the last words"):
        build_by_search(case, tmp_path / "candidate.onnx")


def test_intervals_of_metrics_of_the_whole_set(evalset: Path, tmp_path: Path) -> None:
    """Drawn again with whole groups, the deviation of a mean is the one that its formula gives."""
    inputs = prepare(evalset / "tiny", tmp_path / "work")
    values = np.random.default_rng(0).standard_normal(40)
    means = [values[draw].mean() for draw in bootstrap_draws(inputs, np.arange(40), 400)]
    assert np.std(means) == pytest.approx(values.std() / np.sqrt(40), rel=0.15)
    with np.load(inputs.data) as archive:
        arrays = dict(archive)
    np.savez(inputs.data, **arrays, groups=np.arange(40) // 2)
    for draw in bootstrap_draws(inputs, np.arange(40), 5):
        assert (np.sort(draw)[::2] + 1 == np.sort(draw)[1::2]).sum() >= 1
        assert all((draw == even).sum() == (draw == even + 1).sum() for even in range(0, 40, 2))


def test_a_judge_finds_no_difference_between_a_model_and_itself(evalset: Path, tmp_path: Path) -> None:
    case = make_case(evalset / "tiny", tmp_path / "work", Goal(0.01))
    verdict = Judge(case, threads=1, timing_s=0.2).verdict(case.judged.model)
    assert verdict["accuracy"]["drop"] == 0.0
    assert verdict["accuracy"]["drop_ci95"] == [0.0, 0.0]
    assert verdict["size_ratio"] == 1.0


def test_rows_are_listed_once_and_goals_are_read() -> None:
    assert len({(m.tool, m.name) for m in METHODS}) == len(METHODS)
    assert TOOLS == ("ours", "onnxruntime", "nncf", "aimet")
    folder = Path(goals.__file__).parent
    assert read_goals(folder / "ptq_goals.yaml")["mobilenetv2"] == Goal(0.003, 2.0)
    assert read_goals(folder / "structural_goals.yaml")["cifar_resnet20"] == Goal(0.01, 3.0)
    assert goal_for("unheard of", {}, 0.01) == Goal(0.01, 2.0)
