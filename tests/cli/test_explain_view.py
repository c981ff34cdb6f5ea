"""``estimate --explain`` as a person sees it and as a program reads it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from autocompress.bundled import bundled_example


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
    return {**os.environ, "AUTOCOMPRESS_CACHE": str(tmp_path_factory.mktemp("cache")), "COLUMNS": "100"}


def estimate(environment: dict[str, str], *arguments: str) -> str:
    command = [sys.executable, "-m", "autocompress", "estimate", str(bundled_example().model), "--explain", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_document_is_complete(environment) -> None:
    document = json.loads(estimate(environment, "--json"))
    assert {"ops", "kinds", "int8", "int8_unavailable"} <= document.keys()
    assert len(document["ops"]) == document["nodes"]
    for row in document["ops"]:
        assert {
            "name",
            "label",
            "op_type",
            "kind",
            "role",
            "integer",
            "latency_ms",
            "interval90_ms",
            "share",
        } <= row.keys()
        assert {"source", "reasons", "note", "macs", "bytes", "sources"} <= row.keys()
    int8 = document["int8"]
    assert {"forms", "kinds", "regions", "slower", "float_regions", "sentences"} <= int8.keys()
    for row in int8["regions"]:
        assert {"region", "float_ms", "int8_ms", "saves_ms", "int8_parts_ms", "reasons", "note"} <= row.keys()


def test_a_person_sees_the_parts_in_order(environment) -> None:
    shown = estimate(environment)
    parts = (
        "By kind of operator",
        "Operators, the dearest first",
        "What int8 would make of it",
        "int8 everywhere: estimated",
        "By kind, in float and in int8",
        "Regions by what int8 saves",
    )
    places = [shown.index(part) for part in parts]
    assert places == sorted(places)


def test_it_fits_100_columns(environment) -> None:
    code = """
import json, sys
from rich.console import Console
from autocompress.cli.commands.estimate import _show
document = json.load(sys.stdin)
console = Console(width=100)
for part in _show(document):
    console.print(part)
"""
    document = estimate(environment, "--json")
    done = subprocess.run(
        [sys.executable, "-c", code], input=document, capture_output=True, text=True, timeout=60, check=True
    )
    assert max(map(len, done.stdout.splitlines())) <= 100
    long_words = [line for line in done.stdout.splitlines() if line.strip() and " " not in line.strip()]
    assert len(long_words) < 5
