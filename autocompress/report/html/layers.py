"""Which layer costs the time, which loses the accuracy, and what the search chose."""

from __future__ import annotations

from collections.abc import Sequence

from autocompress.report.html.markup import Cell, Column, Markup, paragraph, section, table
from autocompress.report.wording import MISSING, milliseconds, percent, significant
from autocompress.store.records import LayerRecord

_REFERENCE = "fp32"


def layers(records: Sequence[LayerRecord]) -> Markup:
    """One row per layer: what the best recipe chose, and damage and time of each option."""
    if not records:
        return section("Layers", "layers", paragraph("No sensitivities were recorded.", kind="empty"))
    options = list(dict.fromkeys(record.option for record in records))
    damaging = [o for o in options if any(r.damage for r in records if r.option == o)]
    timed = [o for o in options if any(r.estimated_ms is not None for r in records if r.option == o)]
    by_layer: dict[str, dict[str, LayerRecord]] = {}
    for record in records:
        by_layer.setdefault(record.layer, {})[record.option] = record
    reference = _REFERENCE if _REFERENCE in timed else (timed[0] if timed else None)
    times = [_ms(found.get(reference)) or 0.0 for found in by_layer.values()] if reference else []
    columns = [
        Column("Layer"),
        Column("Best recipe", hint="what the emitted model does here"),
        *(
            Column(f"Damage, {o}", True, "damage at the network's output when only this layer takes it")
            for o in damaging
        ),
        *(Column(f"Estimated, {o}", True, "estimated time of the layer") for o in timed),
        Column("Share", True, f"of the estimated time of all layers in {reference}"),
    ]
    rows = [_row(layer, found, damaging, timed, reference, times) for layer, found in by_layer.items()]
    worst = max((r.damage for r in records if r.damage is not None), default=None)
    sentence = (
        "Damage is label-free: how far the network's output moves when only this layer takes the option"
        + (f" (the largest here is {significant(worst)})." if worst is not None else ".")
        + " Click a heading to sort."
    )
    return section(
        "Layers",
        "layers",
        paragraph(sentence, kind="note"),
        table(columns, rows, caption="Sensitivity and estimated time per layer."),
    )


def _row(
    layer: str,
    found: dict[str, LayerRecord],
    damaging: Sequence[str],
    timed: Sequence[str],
    reference: str | None,
    times: Sequence[float],
) -> list[Cell | object]:
    chosen = [option for option, record in found.items() if record.chosen]
    ms = (_ms(found.get(reference)) or 0.0) if reference else 0.0
    share = ms / sum(times) if sum(times) > 0 else None
    return [
        layer,
        ", ".join(chosen) or MISSING,
        *(Cell(significant(_damage(found.get(o))), _damage(found.get(o))) for o in damaging),
        *(Cell(milliseconds(_ms(found.get(o))), _ms(found.get(o))) for o in timed),
        Cell(percent(share), share, None if share is None else ms / max(times)),
    ]


def _ms(record: LayerRecord | None) -> float | None:
    return record.estimated_ms if record else None


def _damage(record: LayerRecord | None) -> float | None:
    return record.damage if record else None
