from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autocompress.cli.output import plain, print_result
from autocompress.measurement import Interval, MeasuredSpeedup


@dataclass(frozen=True)
class _Point:
    latency_ms: float
    where: Path


def test_plain_unpacks_what_results_are_made_of():
    document = {
        "point": _Point(1.5, Path("a/b")),
        "n": np.int64(3),
        "drop": np.float32(0.5),
        "shape": (1, np.int32(3)),
        "curve": np.array([[1.0, math.nan]]),
        "speedup": math.inf,
        "met": np.bool_(True),
        "interval": Interval(1.0, 2.0),
        3: None,
    }
    assert plain(document) == {
        "point": {"latency_ms": 1.5, "where": "a/b"},
        "n": 3,
        "drop": 0.5,
        "shape": [1, 3],
        "curve": [[1.0, None]],
        "speedup": None,
        "met": True,
        "interval": {"low": 1.0, "high": 2.0},
        "3": None,
    }


def test_what_has_no_json_form_is_not_guessed():
    with pytest.raises(TypeError, match="set has no JSON form"):
        plain({"x": {1, 2}})
    with pytest.raises(TypeError, match="type has no JSON form"):
        plain(MeasuredSpeedup)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
)


@given(_JSON)
def test_plain_is_always_json(value):
    text = json.dumps(plain(value), allow_nan=False)
    assert json.loads(text) == plain(value)


def test_json_is_one_document(capsys):
    print_result({"a": 1, "b": math.nan}, lambda _: [], as_json=True)
    assert json.loads(capsys.readouterr().out) == {"a": 1, "b": None}


def test_tables_are_not_cut_off_in_a_pipe(capsys):
    from autocompress.cli.layout import Column, rows_table

    name = "/backbone/stage3/block2/conv1/Conv_with_a_long_name_that_would_not_fit_into_eighty_columns"
    print_result({"ops": [{"name": name}]}, lambda d: [rows_table(d["ops"], [Column("name", "x")])], as_json=False)
    assert name in capsys.readouterr().out


_NOISY = """
import os, subprocess, sys
from autocompress.cli.output import print_result, stdout_reserved
with stdout_reserved():
    print("a user's metric prints")
    os.write(1, b"a native library prints\\n")
    subprocess.run([sys.executable, "-c", "print('a child prints')"], check=True)
print_result({"x": 1}, None, as_json=True)
"""


def test_standard_output_holds_the_document_alone(repository):
    done = subprocess.run([sys.executable, "-c", _NOISY], capture_output=True, text=True, cwd=repository, check=True)
    assert json.loads(done.stdout) == {"x": 1}
    for who in ("a user's metric", "a native library", "a child"):
        assert f"{who} prints" in done.stderr


def test_standard_output_comes_back_after_a_failure(repository):
    program = (
        "from autocompress.cli.output import stdout_reserved\n"
        "try:\n    with stdout_reserved(): print('lost'); raise ValueError\nexcept ValueError: print('back')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=repository, check=True)
    assert (done.stdout, done.stderr) == ("back\n", "lost\n")
