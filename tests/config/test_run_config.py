from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from autocompress.config import OPTIONS, RunConfig, SizeTarget
from autocompress.config.options import PARSERS, WITH_UNITS
from autocompress.errors import ConfigError


def test_text_means_what_the_command_line_means():
    config = RunConfig(
        model="m.onnx",
        data="d.npz",
        target_speedup="2x",
        target_latency="800us",
        target_size="4x",
        max_accuracy_drop="1%",
        timeout="1h30m",
        shapes=["x:1x3x8x8"],
    )
    assert config.model == Path("m.onnx")
    assert config.target_speedup == 2.0
    assert config.target_latency_ms == 0.8
    assert config.target_size == SizeTarget(factor=4.0)
    assert config.max_accuracy_drop == 0.01
    assert config.timeout_s == 5400.0
    assert config.shapes == {"x": (1, 3, 8, 8)}


def test_defaults_are_those_of_the_documentation():
    config = RunConfig()
    assert (config.max_accuracy_drop, config.threads, config.batch_size, config.seed) == (0.01, 1, 1, 0)
    assert (config.runtime, config.search_space, config.timeout_s) == ("onnxruntime", "mixed_precision", 600.0)
    assert config.output == Path("autocompress-out")
    assert not config.has_target


def test_every_field_is_an_option_and_every_option_a_field():
    assert set(PARSERS) == set(RunConfig.model_fields)
    assert set(OPTIONS) == {o for o in PARSERS if o not in {f for f, _ in WITH_UNITS.values()}} | set(WITH_UNITS)


def test_a_function_is_a_source_of_samples_and_a_path_is_one_too():
    assert RunConfig(model="m", data="my.samples:batches").data == "my.samples:batches"
    assert RunConfig(model="m", data="images/").data == Path("images")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"target_speeedup": 2}, "unknown option 'target_speeedup'; did you mean 'target_speedup'"),
        ({"nonsense": 2}, "unknown option 'nonsense'; known options are"),
        ({"timeout": "1m", "timeout_s": 60}, "given twice"),
        ({"deterministic": True}, "deterministic needs trials"),
        ({"deterministic": True, "trials": 5, "timeout": "10m"}, "deterministic and timeout contradict"),
        ({"deterministic": "yes"}, "must be true or false"),
        ({"threads": 0}, "threads '0' must be a whole number"),
        ({"trials": 2.5}, "trials '2.5' must be a whole number"),
        ({"seed": -1}, "seed '-1' must be a whole number from 0"),
        ({"model": ""}, "model '' is not a path"),
        ({"model": 5}, "model 5 is not a path"),
        ({"study": "a\nb"}, "study"),
        ({"runtime": " "}, "runtime ' ' is not a name"),
    ],
)
def test_refused_with_one_sentence(options, sentence):
    with pytest.raises(ConfigError, match=sentence):
        RunConfig(**options)


def test_deterministic_has_no_clock():
    assert RunConfig(deterministic=True, trials=5).timeout_s is None


def test_frozen():
    with pytest.raises(ValidationError):
        RunConfig().threads = 2


def test_replaced_checks_what_it_changes_and_keeps_the_rest():
    config = RunConfig(model="m.onnx", trials=7, timeout="5m")
    assert config.replaced(threads=2) == RunConfig(model="m.onnx", trials=7, timeout="5m", threads=2)
    assert RunConfig(trials=7).replaced(deterministic=True).replaced(seed=3).timeout_s is None
    with pytest.raises(ConfigError, match="threads"):
        config.replaced(threads=-1)
    with pytest.raises(ConfigError, match="contradict"):
        config.replaced(deterministic=True)


def test_without_a_model_the_example_runs_at_twice_the_speed():
    example = (Path("net.onnx"), Path("digits.npz"), None)
    config = RunConfig(seed=4).with_example(*example)
    assert (config.model, config.data, config.target_speedup, config.seed) == (*example[:2], 2.0, 4)
    assert RunConfig(target_size="4x").with_example(*example).target_speedup is None
    with pytest.raises(ConfigError, match="without a model"):
        RunConfig(data="d.npz").with_example(*example)


def test_options_build_an_equal_config():
    config = RunConfig(
        model="m.onnx",
        data="pkg.mod:f",
        target_latency="1.1us",
        target_size="10MiB",
        shapes={"a:0": [1, 2]},
        timeout="90s",
        preprocess="p.yaml",
        storage="sqlite:///x.db",
    )
    assert RunConfig(**config.to_options()) == config
