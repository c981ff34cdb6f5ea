"""The comparison as text: one line per method, for the terminal and as Markdown."""

from __future__ import annotations

from typing import Any

from results import Column, cell

COLUMNS: tuple[Column, ...] = (
    ("model", "name", "{}"),
    ("tool", "tool", "{}"),
    ("method", "method", "{}"),
    ("fp32", "judged.accuracy.baseline", "{:.4f}"),
    ("drop, all", "judged.accuracy.drop", "{:+.4f}"),
    ("95 %", "shown.all", "{}"),
    ("drop, held", "judged.accuracy_held.drop", "{:+.4f}"),
    ("95 %", "shown.held", "{}"),
    ("speedup", "judged.timing.speedup", "{:.2f}x"),
    ("size", "judged.size_ratio", "{:.2f}x"),
    ("build CPU s", "cpu_s", "{:.1f}"),
    ("goal", "goal_met", "{}"),
)


def shown_intervals(judged: dict[str, Any]) -> dict[str, str]:
    """Half widths of the two intervals, as the table shows them."""
    parts = {"all": judged["accuracy"], "held": judged["accuracy_held"]}
    return {name: f"±{(part['drop_ci95'][1] - part['drop_ci95'][0]) / 2:.4f}" for name, part in parts.items()}


def markdown(document: dict[str, Any]) -> str:
    """One table per model, with what was judged on what above it and what failed below it."""
    lines = [
        f"{document['calibration_samples']} calibration samples for every tool; ONNX Runtime "
        f"{document['versions']['onnxruntime']}, 1 thread, interleaved with the original, on {document['processor']}. "
        "A drop is what is lost (negative: gained) in the metric's own unit, paired with fp32 on the same samples, "
        "with half of its 95 % interval. *Held* samples were seen by no method; the search was given the labels of "
        "the others.",
    ]
    for name in dict.fromkeys(row["name"] for row in document["results"]):
        lines += ["", *_one_model([row for row in document["results"] if row["name"] == name])]
    return "\n".join(lines) + "\n"


def _one_model(rows: list[dict[str, Any]]) -> list[str]:
    first, columns = rows[0], COLUMNS[1:]
    goal = f"drop at most {first['goal']['max_accuracy_drop']:g}"
    if first["goal"]["speedup"] is not None:
        goal += f" at {first['goal']['speedup']:g}x or better"
    samples = f"{first['samples']['all']} samples, {first['samples']['held']} of them held"
    lines = [f"**{first['name']}** ({first['metric']}; {samples}; goal: {goal})", ""]
    lines.append("| " + " | ".join(heading for heading, _, _ in columns) + " |")
    lines.append("| --- " * 2 + "| ---: " * (len(columns) - 2) + "|")
    lines += ["| " + " | ".join(cell(row, path, form) for _, path, form in columns) + " |" for row in rows]
    remarks = [text for row in rows for text in _remarks(row)]
    return [*lines, *(["", *(f"- {remark}" for remark in remarks)] if remarks else [])]


def _remarks(row: dict[str, Any]) -> list[str]:
    notes = [f"{row['tool']}, {row['method']}: {note}" for note in row.get("notes", [])]
    return [*([row["problem"]] if row["problem"] else []), *notes]
