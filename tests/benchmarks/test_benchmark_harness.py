"""The harness on a small evaluation set made here, with a program in autocompress's place that keeps its contract."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import end_to_end
import numpy as np
import onnx
import pytest
from evalset_inputs import feeds, model_names, prepare, usual_samples
from independent_check import Answers, paired_drop, score, time_both
from tiny_evalset import BIAS, SCALE, classifier
from watched_process import run_watched


def _program(folder: Path, body: str) -> str:
    """An executable in the place of ``autocompress``."""
    path = folder / "program"
    path.write_text(f"#!{sys.executable}\nimport json, pathlib, shutil, sys\nargs = sys.argv\n{body}")
    path.chmod(0o755)
    return str(path)


KEEPS_THE_CONTRACT = """
out = pathlib.Path(args[args.index("--output") + 1]); out.mkdir()
shutil.copy(args[2], out / "best.onnx")
best = {"speedup": 2.5, "accuracy_drop": 0.0}
(out / "split.json").write_text(json.dumps({"verification": [0, 1, 20, 21]}))
print(json.dumps({"target_met": True, "best": best, "seconds": {"first_met": 7.5}}))
"""


def test_prepared_inputs_are_what_a_user_brings(evalset: Path, tmp_path: Path) -> None:
    inputs = prepare(evalset / "tiny", tmp_path / "work")
    with np.load(inputs.data) as data, np.load(inputs.calibration) as calibration:
        assert {k: (v.shape, str(v.dtype)) for k, v in data.items()} == {
            "image": ((40, 2, 16, 16), "uint8"),
            "labels": ((40,), "int64"),
        }
        assert calibration["image"].shape == (8, 2, 16, 16)
        first = data["image"][:1].astype(np.float64)
    expected = first * np.array(SCALE)[:, None, None] + np.array(BIAS)[:, None, None]
    np.testing.assert_allclose(feeds(inputs, inputs.data, ["image"])["image"][:1], expected, rtol=1e-5)


def test_scores_are_those_of_the_labels(evalset: Path, tmp_path: Path) -> None:
    inputs = prepare(evalset / "tiny", tmp_path / "work")
    assert score(inputs.model, inputs).value == 0.75
    assert Answers(inputs.model, inputs).score(np.arange(5, 15)).value == 0.5
    half = score(inputs.model, inputs)
    better = type(half)(1.0, np.ones(40), 40)
    drop = paired_drop(better, half)
    assert drop["drop"] == 0.25
    assert drop["drop_ci95"][0] < 0.25 < drop["drop_ci95"][1]


def test_timing_tells_a_large_model_from_a_small_one(evalset: Path, tmp_path: Path) -> None:
    inputs = prepare(evalset / "tiny", tmp_path / "work")
    large = tmp_path / "large.onnx"
    onnx.save(classifier(channels=640), str(large))
    timing = time_both(large, inputs.model, inputs, seconds=0.5)
    assert timing["speedup"] > 2.0
    assert timing["speedup_ci95"][0] <= timing["speedup"] <= timing["speedup_ci95"][1]
    assert timing["clock"] == "cpu"


def test_end_to_end_sets_claims_beside_the_second_opinion(evalset: Path, tmp_path: Path) -> None:
    result = _run(evalset, tmp_path, KEEPS_THE_CONTRACT)
    assert result["claimed"]["speedup"] == 2.5
    assert result["claimed"]["first_met_s"] == 7.5
    assert 0.6 < result["independent"]["timing"]["speedup"] < 1.6  # the same file twice: the claim is seen to be false
    assert result["independent"]["accuracy"]["baseline"] == 0.75
    assert result["independent"]["accuracy"]["drop"] == 0.0
    assert result["independent"]["accuracy_verification"]["n"] == 4
    assert result["independent"]["accuracy_verification"]["baseline"] == 0.5
    assert "--preprocess" in result["run"]["command"]
    assert not any(str(tmp_path) in part for part in result["run"]["command"] if "evalset" not in part)


def test_goals_of_a_file_are_asked_of_their_models_alone(evalset: Path, tmp_path: Path) -> None:
    goals = tmp_path / "goals.yaml"
    goals.write_text("tiny: {speedup: 2.6, max_accuracy_drop: 0.02}")
    result = _run(evalset, tmp_path, KEEPS_THE_CONTRACT, extra=["--goals", str(goals)])
    command = result["run"]["command"]
    assert command[command.index("--target-speedup") + 1] == "2.6x"
    assert command[command.index("--max-accuracy-drop") + 1] == "0.02"
    assert result["asked"] == "2.6x, 0.02"
    goals.write_text("another: {max_accuracy_drop: 0.02}")
    with pytest.raises(SystemExit, match="goal for none of the models"):
        end_to_end.main(["--evalset", str(evalset), "--goals", str(goals)])


def test_end_to_end_names_what_went_wrong(evalset: Path, tmp_path: Path) -> None:
    result = _run(evalset, tmp_path, "print('not', 'JSON'); sys.exit('the last words')", code=1)
    assert result["run"]["exit_code"] == 1
    assert "not one JSON document" in result["problem"]
    assert "the last words" in result["problem"]
    assert "independent" not in result


def _run(evalset: Path, tmp_path: Path, body: str, code: int = 0, extra: Sequence[str] = ()) -> dict:
    output = tmp_path / "results.json"
    program = _program(tmp_path, body)
    arguments = ["--evalset", str(evalset), "--output", str(output), "--autocompress", program, *extra]
    assert end_to_end.main([*arguments, "--timing-seconds", "0.3", "--timeout", "10"]) == code
    document = json.loads(output.read_text())
    assert document["benchmark"] == "end_to_end"
    return document["results"][0]


def test_a_folder_without_models_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "absent").mkdir()
    (tmp_path / "absent" / "meta.json").write_text("{}")
    with pytest.raises(SystemExit, match="holds no folder"):
        model_names(tmp_path, set())
    assert "--model-path absent=FILE" in capsys.readouterr().err
    assert model_names(tmp_path, {"absent"}) == ["absent"]


def test_memory_of_child_processes_counts(tmp_path: Path) -> None:
    child = "b = bytearray(150_000_000); import time; time.sleep(0.5)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}]); print('done')"
    done = run_watched([sys.executable, "-c", code], tmp_path, limit_s=30)
    assert (done.exit_code, done.stdout, done.stopped) == (0, "done\n", False)
    assert done.peak_rss_bytes > 150_000_000
    assert done.peak_process_rss_bytes > 150_000_000


def test_a_command_over_its_time_is_interrupted(tmp_path: Path) -> None:
    code = (
        "import time\ntry:\n    print('on', flush=True); time.sleep(60)\n"
        "except KeyboardInterrupt:\n    print('stopped cleanly')"
    )
    done = run_watched([sys.executable, "-c", code], tmp_path, limit_s=1.0)
    assert done.stopped
    assert done.stdout == "on\nstopped cleanly\n"
    assert done.seconds < 15


def test_a_run_is_given_fewer_samples_but_judged_on_all(evalset: Path, tmp_path: Path) -> None:
    body = (
        KEEPS_THE_CONTRACT
        + """
import numpy
print(len(numpy.load(args[args.index("--data") + 1])["labels"]), file=sys.stderr)
"""
    )
    result = _run(evalset, tmp_path, body, extra=["--samples", "24"])
    assert result["run"]["stderr_tail"] == ["24"]
    assert result["independent"]["accuracy"]["n"] == 40


def test_sentence_pairs_are_kept_as_groups(tmp_path: Path) -> None:
    folder = tmp_path / "sts"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"not read here")
    meta = {"task": "sts", "inputs": [{"name": "input_ids"}, {"name": "attention_mask"}, {"name": "token_type_ids"}]}
    (folder / "meta.json").write_text(json.dumps(meta))
    ids = np.arange(10).repeat(3).reshape(10, 3)  # the first five are the first sentences
    np.savez(folder / "eval.npz", ids=ids, mask=np.ones((10, 3), np.int8), y=np.arange(5.0))
    np.savez(folder / "calib.npz", input_ids=ids, attention_mask=np.ones_like(ids), token_type_ids=np.zeros_like(ids))
    assert usual_samples(folder) == 1000
    with np.load(prepare(folder, tmp_path / "work", n=6).data) as data:
        assert data["input_ids"][:, 0].tolist() == [0, 5, 1, 6, 2, 7]
        assert data["groups"].tolist() == [0, 0, 1, 1, 2, 2]
        assert data["member"].tolist() == [0, 1, 0, 1, 0, 1]
        assert data["score"].tolist() == [0, 0, 1, 1, 2, 2]
        assert data["token_type_ids"].dtype == np.int64


def test_true_boxes_are_padded_per_image(tmp_path: Path) -> None:
    folder = tmp_path / "detector"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"not read here")
    (folder / "meta.json").write_text(json.dumps({"task": "detection", "inputs": [{"name": "images"}]}))
    image = np.zeros((3, 3, 64, 64), np.uint8)
    np.savez(folder / "calib.npz", x=image)
    np.savez(
        folder / "eval.npz", x=image, gt=np.array([[0, 7, 1, 2, 3, 4], [2, 8, 1, 2, 3, 4], [2, 9, 5, 6, 7, 8]], "f4")
    )
    with np.load(prepare(folder, tmp_path / "work").data) as data:
        assert data["boxes"].shape == (3, 2, 5)
        assert data["boxes"][:, :, 0].tolist() == [[7, -1], [-1, -1], [8, 9]]


def test_noise_is_the_same_every_time(tmp_path: Path) -> None:
    folder = tmp_path / "denoiser"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"not read here")
    (folder / "meta.json").write_text(json.dumps({"task": "denoise"}))
    clean = np.full((6, 1, 64, 64), 128, np.uint8)
    np.savez(folder / "calib.npz", x=np.zeros((2, 1, 64, 64), np.float32))
    np.savez(folder / "eval.npz", clean=clean, sigma=np.float32(0.1), seed=np.int64(0))
    with (
        np.load(prepare(folder, tmp_path / "a").data) as one,
        np.load(prepare(folder, tmp_path / "b", n=2).data) as two,
    ):
        np.testing.assert_array_equal(one["x"][:2], two["x"])
        assert abs(float((one["x"] - 128 / 255).std()) - 0.1) < 0.002
        assert two["clean"].shape == (2, 1, 64, 64)
