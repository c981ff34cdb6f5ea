"""The tables of ``sensitivity``: what a layer costs now beside what it may become."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from autocompress.cli.sensitivity_view import show_precisions


def _row(name: str, option: str, damage: float, latency_ms: float, saved_ms: float, share: float) -> dict[str, Any]:
    return {
        "name": name,
        "op_type": "Conv",
        "option": option,
        "damage": damage,
        "latency_ms": latency_ms,
        "saved_ms": saved_ms,
        "share": share,
    }


def _printed(layers: list[dict[str, Any]]) -> list[list[str]]:
    console = Console(width=200, file=io.StringIO())
    with console.capture() as caught:
        for part in show_precisions(layers):
            console.print(part)
    return [line.split() for line in caught.get().splitlines() if line.strip()]


def test_each_line_is_a_change_beside_the_time_of_the_layer_as_it_is() -> None:
    layers = [
        _row("stem", "int8", 0.01234567, 0.5, -0.0004, 0.25),
        _row("head", "int8", 1e-5, 0.0625, 0.1875, 0.05),
        _row("head", "fp32", 0.0, 0.25, 0.0, 0.2),
        _row("stem", "fp32", 0.0, 0.4996, 0.0, 0.4),
        _row("rest", "fp32", 0.0, 1.5, 0.0, 0.4),
    ]
    _, *lines = _printed(layers)
    assert lines == [
        ["stem", "Conv", "0.500", "ms", "40.0", "%", "int8", "0.01235", "0.500", "ms", "0.000", "ms"],
        ["head", "Conv", "0.250", "ms", "20.0", "%", "int8", "1e-05", "0.062", "ms", "0.188", "ms"],
        ["rest", "Conv", "1.500", "ms", "40.0", "%", "-", "-", "-", "-"],
    ]
