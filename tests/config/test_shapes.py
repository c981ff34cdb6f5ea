from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autocompress.config.shapes import format_sizes, parse_shape, parse_shapes
from autocompress.errors import ConfigError


def test_shape():
    assert parse_shape("pixels:1x3x224x224") == ("pixels", (1, 3, 224, 224))
    assert parse_shape("ids:128") == ("ids", (128,))
    assert parse_shape("tower/input:0:1x8") == ("tower/input:0", (1, 8))


@pytest.mark.parametrize("text", ["1x3x4", ":1x3", "x:", "x:1xx3", "x:1x-3", "x:0x3", "x:1x3.5", "x:a", "x:1x"])
def test_shape_refuses(text):
    with pytest.raises(ConfigError, match="shape"):
        parse_shape(text)


def test_shapes_from_yaml_and_flags_agree():
    expected = {"a": (1, 3), "b": (7,)}
    assert parse_shapes(["a:1x3", "b:7"]) == expected
    assert parse_shapes({"a": "1x3", "b": 7}) == expected
    assert parse_shapes({"a": [1, 3], "b": [7]}) == expected
    assert parse_shapes("a:1x3") == {"a": (1, 3)}


@pytest.mark.parametrize("value", [5, [5], {"a": []}, {"a": [1.5]}, {"a": [True]}, {"a": None}, {"a": True}, None])
def test_shapes_refuse(value):
    with pytest.raises(ConfigError, match="shape"):
        parse_shapes(value)


def test_one_input_has_one_shape():
    with pytest.raises(ConfigError, match="input 'a' has two shapes"):
        parse_shapes(["a:1", "a:2"])


@given(
    st.text(min_size=1).filter(lambda name: name == name.strip()),
    st.lists(st.integers(1, 10**9 - 1), min_size=1, max_size=6),
)
def test_any_name_reads_back(name, sizes):
    assert parse_shape(f"{name}:{format_sizes(tuple(sizes))}") == (name, tuple(sizes))
