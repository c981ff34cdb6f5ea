from __future__ import annotations

import pytest

from autocompress.config import RunConfig
from autocompress.errors import ConfigError


def test_the_file_counts_unless_something_else_is_asked_for():
    assert RunConfig().size_as is None
    assert "size_as" not in RunConfig(target_size="4x").to_options()
    config = RunConfig(target_size="4x", size_as="deflate")
    assert config.size_as == "deflate"
    assert RunConfig(**config.to_options()) == config


@pytest.mark.parametrize("value", ["zip", "", 3, ["file"]])
def test_other_sizes_are_refused_by_name(value):
    with pytest.raises(ConfigError, match="give one of file, deflate"):
        RunConfig(size_as=value)
