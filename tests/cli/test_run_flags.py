from __future__ import annotations

import pytest
import typer

from autocompress.cli.commands.run import _NOT_OPTIONS, _given
from autocompress.cli.main import app
from autocompress.cli.parameters import DEFAULT_STORAGE
from autocompress.config import DEFAULT_STORAGE as CONFIG_DEFAULT_STORAGE
from autocompress.config import OPTIONS, RunConfig, load_config
from autocompress.config.options import WITH_UNITS

RUN = typer.main.get_command(app).commands["run"]
FLAGS = {parameter.name: parameter for parameter in RUN.params if parameter.name not in (*_NOT_OPTIONS, "help")}


def _flags(*arguments: str) -> dict:
    return _given(RUN.make_context("run", list(arguments)).params)


def test_every_option_is_a_flag_of_that_name():
    assert set(FLAGS) == set(OPTIONS)
    spelled = {name: parameter.opts[0] for name, parameter in FLAGS.items() if name not in ("model", "shapes")}
    assert spelled == {name: "--" + name.replace("_", "-") for name in spelled}
    assert FLAGS["shapes"].opts == ["--shape"]


def test_the_defaults_that_help_shows_are_those_of_the_config():
    shown = {name: p.show_default for name, p in FLAGS.items() if isinstance(p.show_default, str)}
    silent = {"target", "shapes", "deterministic", "resume"}
    expected = {
        option
        for option in OPTIONS
        if getattr(RunConfig(), WITH_UNITS.get(option, (option, None))[0]) is not None and option not in silent
    }
    assert set(shown) == expected
    assert RunConfig(**shown) == RunConfig()
    assert DEFAULT_STORAGE == CONFIG_DEFAULT_STORAGE


def test_flags_not_given_say_nothing():
    assert _flags() == {}


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (["m.onnx", "--target-speedup", "2x"], {"model": "m.onnx", "target_speedup": 2}),
        (["--shape", "a:1x3", "--shape", "b:0:7"], {"shapes": {"a": (1, 3), "b:0": (7,)}}),
        (["--target-latency", "5ms", "--timeout", "90s"], {"target_latency_ms": 5, "timeout_s": 90}),
        (["--deterministic", "--trials", "4"], {"deterministic": True, "trials": 4}),
        (["--resume", "--study", "s", "-o", "x"], {"resume": True, "study": "s", "output": "x"}),
        (["--max-accuracy-drop", "0"], {"max_accuracy_drop": 0.0}),
        (["--seed", "0", "--no-resume"], {}),
        (["--target-size", "4x", "--latency-table", "t.csv"], {"target_size": "4x", "latency_table": "t.csv"}),
    ],
)
def test_flags_mean_options(arguments, options):
    assert load_config(None, _flags(*arguments)) == RunConfig(**options)


def test_a_flag_that_switches_off_wins_over_the_file(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("resume: true\nshapes: {x: 1x2}\n", encoding="utf-8")
    config = load_config(path, _flags("--no-resume"))
    assert config.resume is False
    assert config.shapes == {"x": (1, 2)}
