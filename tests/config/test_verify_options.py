"""The options that say who times the finalists."""

from __future__ import annotations

import pytest

from autocompress.config import dump_config, load_config
from autocompress.config.run_config import DEFAULT_VERIFY_TIMEOUT_S, RunConfig
from autocompress.errors import ConfigError


def test_they_are_read_with_their_units_and_written_back(tmp_path):
    config = RunConfig(model="m.onnx", verify_command="ssh board 'my bench' {model}", verify_timeout="90s")
    assert config.verify_timeout_s == 90.0
    assert RunConfig(**config.to_options()) == config
    dump_config(config, tmp_path / "run.yaml")
    loaded = load_config(tmp_path / "run.yaml")
    assert (loaded.verify_command, loaded.verify_timeout_s) == (config.verify_command, 90.0)


def test_without_them_finalists_are_timed_here():
    config = RunConfig()
    assert config.verify_command is None
    assert config.verify_timeout_s == DEFAULT_VERIFY_TIMEOUT_S


@pytest.mark.parametrize("options", [{"verify_command": "  "}, {"verify_command": 3}, {"verify_timeout": "0s"}])
def test_what_cannot_be_meant_is_refused(options):
    with pytest.raises(ConfigError, match=r"verify|above zero"):
        RunConfig(**options)
