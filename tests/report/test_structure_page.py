"""Structure and curves in the report: what the page says of layers that were changed."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any

import pytest

from autocompress.report.comparison import compare
from autocompress.report.curves import by_place, drawn_damage, removed
from autocompress.report.html import report_html
from autocompress.report.sensitivity_png import sensitivity_png

EVIL = "<b>conv</b>"


def facts(name: str, **changes: Any) -> dict[str, Any]:
    row = {
        "name": name, "op_type": "Conv", "inputs": 32, "outputs": 64, "kernel": [3, 3], "elements": 18432,
        "nonzero": 18432, "sparsity": 0.0, "zero_rows": 0.0, "zero_channels": 0.0, "zero_kernels": 0.0,
        "patterns": [], "weight_dtype": "float32", "granularity": "", "activation_dtype": "float32",
    }  # fmt: skip
    return row | changes


def structure() -> dict[str, Any]:
    sparse = {
        "nonzero": 9216,
        "sparsity": 0.5,
        "patterns": ["2:4"],
        "weight_dtype": "int8",
        "granularity": "per_channel",
    }
    parts = [facts(f"{EVIL}_decompose_first", outputs=12, kernel=[3, 1]), facts(EVIL, inputs=12, kernel=[1, 3])]
    rows = [
        ("conv1", ["sparse 2:4", "quantized int8 per channel"], 1_000_000, 1_000_000, [facts("conv1", **sparse)]),
        (EVIL, ["decomposed spatial, rank 12"], 3_000_000, 1_000_000, parts),
        ("same", [], 500, 500, [facts("same")]),
        ("gone", ["merged into another layer"], None, 0, []),
    ]
    return {
        "layers": [
            {
                "name": name, "op_type": "Conv", "done": done, "macs_before": before, "macs_after": after,
                "parameters_before": 18496, "parameters_after": 9000, "nonzero": 9216, "sparsity": 0.5,
                "before": facts(name), "after": made,
            }
            for name, done, before, after, made in rows
        ],
        "before": {"macs": 4_000_500, "parameters": 40_000},
        "after": {"macs": 2_000_500, "parameters": 30_000},
    }  # fmt: skip


def curve(name: str, damages: list[float | None], **changes: Any) -> dict[str, Any]:
    points = [
        {"choice": (i + 1) / 8, "kept": 56 - 8 * i, "saved_ms": 0.1 * i, "damage": damage, "drop": None,
         "compensated": None, "energy": None, "chosen": i == 1}
        for i, damage in enumerate(damages)
    ]  # fmt: skip
    return {"name": name, "method": "", "criterion": "l2", "full": 64, "points": points} | changes


@pytest.fixture
def page(reported: Callable[..., Any]) -> str:
    found = reported(model="best.onnx")
    curves = [curve("mild", [0.001, 0.002]), curve(EVIL, [0.2, None, 0.0], method="svd", criterion="")]
    return report_html(found.record, found.summary | {"structure": structure(), "curves": curves})


def test_layers_stand_side_by_side(page: str) -> None:
    part = re.search(r'<section id="structure">.*?</section>', page, re.DOTALL)
    assert part is not None
    text = part[0]
    assert "4.00 M → 2.00 M multiply-adds (50.0 % left)" in text and "3 layers of 4 changed" in text
    text = text.replace("\u00a0", " ")
    assert text.count("3×1, 32 → 12") == 1 and "1×3, 12 → 64" in text
    assert EVIL not in page and "&lt;b&gt;conv&lt;/b&gt;_decompose_first" in text
    assert "33.3 %" in text and "2:4" in text and "int8 per channel" in text
    assert '<a href="#structure">Structure</a>' in page and '<a href="#curves">Curves</a>' in page


def test_curves_are_drawn_with_what_was_chosen(page: str) -> None:
    data = re.search(r'data-chart="damage-curves">(.*?)</script>', page, re.DOTALL)
    assert data is not None
    steep, mild = json.loads(data[1])["data"]
    assert steep["name"] == f"{EVIL} (svd)" and mild["x"] == [12.5, 25.0]
    assert steep["y"] == [0.2, None, 1e-6] and mild["marker"]["size"] == [6, 13]


def test_studies_without_them_have_no_such_part(met: Any) -> None:
    page = report_html(met.record, met.summary)
    assert 'id="structure"' not in page and 'id="curves"' not in page and "#structure" not in page


def test_multiply_adds_are_compared(reported: Callable[..., Any]) -> None:
    summary = reported().summary
    assert "multiply-adds" not in [row.label for row in compare(summary)]
    rows = {row.label: row for row in compare(summary | {"structure": structure()})}
    assert (rows["multiply-adds"].baseline, rows["multiply-adds"].best) == ("4.00 M", "2.00 M")
    assert rows["parameters"].change == "25.0 % fewer"


def test_the_most_sensitive_place_comes_first() -> None:
    rows = [curve("a", [0.01]), curve("b", [0.4]), curve("a", [0.9], criterion="taylor"), curve("c", [math.inf])]
    assert list(by_place(rows)) == ["c", "a", "b"]
    assert removed(rows[0], rows[0]["points"][0]) == 0.125
    assert drawn_damage({"damage": math.inf}) is None and drawn_damage({"damage": 0.0}) == 1e-6


@pytest.mark.parametrize("metric", [None, "top1"])
def test_every_kind_is_drawn(metric: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autocompress.report.sensitivity_png._MOST_PANELS", 2)
    named = [curve(f"$layer{i}$", [0.01, 0.1, None]) for i in range(3)]
    ranked = [curve("a", [0.1, 0.2], method=method, criterion="") for method in ("svd", "spatial")]
    for line in ranked:
        for point in line["points"]:
            point |= {"energy": 0.9, "drop": 0.01}
    for document in (
        {"kind": "pruning", "metric": metric, "is_fraction": True, "curves": named},
        {"kind": "low_rank", "metric": metric, "is_fraction": False, "curves": ranked},
        {"kind": "pruning", "metric": metric, "is_fraction": True, "curves": []},
        {"kind": "quantization", "layers": [{"name": "a", "option": "int8", "damage": d} for d in (0.1, 0.0)]},
        {"kind": "quantization", "layers": []},
    ):
        assert sensitivity_png(document).startswith(b"\x89PNG")
