"""The benchmark of building tables, on a device that is replayed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import profile_time
import pytest

sys.path.append(str(Path(__file__).parents[1] / "e2e"))
from small_world import save_classifier


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_classifier(tmp_path / "small.onnx", batch="n")


def test_the_operators_of_a_model_are_timed_from_nothing(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "result.json"
    arguments = ["--runtime", "replay", "--shape", "x:2x3x16x16", "--shape", "other:1x2", "--out", str(out)]
    assert profile_time.main([str(model), *arguments]) == 0
    document = json.loads(out.read_text())
    (row,) = document["results"]
    assert (row["name"], row["runtime"], row["threads"], row["met"]) == ("small", "replay", 1, True)
    assert row["forms"] > 2
    assert row["operators"] > 8
    assert (row["invalid"], row["remaining"]) == (0, 0)
    assert row["coverage_percent"] == pytest.approx(100.0)
    assert 0 < row["seconds"] < document["limit_s"] == 60.0
    assert "small" in capfd.readouterr().out


def test_a_table_that_is_not_finished_misses_the_limit(capfd: pytest.CaptureFixture[str]) -> None:
    assert profile_time.main(["--full", "--runtime", "replay", "--limit-s", "0.5", "--json"]) == 1
    (row,) = json.loads(capfd.readouterr().out)["results"]
    assert row["name"] == "zoo"
    assert row["remaining"] > 100
    assert not row["met"]
    assert row["seconds"] > 0.5


def test_what_fails_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rubbish = tmp_path / "rubbish.onnx"
    rubbish.write_text("no model")
    assert profile_time.main([str(rubbish)]) == 2
    assert "rubbish.onnx" in capfd.readouterr().err
    case = profile_time.Case("none", "replay", 1, tmp_path / "none.onnx")
    row = profile_time._built(case, tmp_path / "work", 10.0)
    assert row["problem"] == "autocompress profile ended with exit code 2, see above"
    assert not row["met"]


@pytest.mark.parametrize("arguments", [[], ["m.onnx", "--full"]])
def test_models_or_the_zoo(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        profile_time.main(arguments)
    assert "give models, or --full" in capsys.readouterr().err
