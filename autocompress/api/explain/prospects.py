"""What int8 would make of a float model: everywhere, where it pays, region by region, kind by kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autocompress.api.explain import words
from autocompress.api.explain.executed import PricedGraph
from autocompress.api.explain.forms import Form, Forms
from autocompress.api.explain.given import GivenModel
from autocompress.api.explain.reasons import Evidence
from autocompress.api.explain.regions import RegionTime, SplitTime, split_time
from autocompress.api.explain.rows import kinds
from autocompress.api.explain.why import reasons_of_region
from autocompress.latency.estimator import LatencyEstimator
from autocompress.latency.speedup import estimated_speedup
from autocompress.measurement import EstimatedLatency
from autocompress.passes.quantize import FP32, INT8
from autocompress.search.regions import Region

_NAMES = {
    "int8": "int8 everywhere",
    "int8_dynamic": "dynamic int8 wherever possible",
    "mixed": "int8 only where it pays",
}
_NOTICEABLE = 0.002  # part of the model's time by which a region must get slower to be named
_MOST_CULPRITS = 3
_CLEARLY_FASTER = 0.99  # a mix of precisions is worth it if it takes less than this part of int8 everywhere


def prospects(forms: Forms, given: EstimatedLatency, estimator: LatencyEstimator, runtime: str) -> dict[str, Any]:
    """What int8 would make of a float model.

    Args:
        forms: of the model; it must have at least one region.
        given: estimate of the model as it is.
        estimator: prices every form.
        runtime: name of the runtime.

    Returns:
        ``forms`` with their estimates and speedups, ``kinds`` and ``regions`` with both times, ``slower``: names of
        regions that int8 makes slower, ``float_regions``: those that the fastest mix keeps in float, and ``sentences``.
    """
    probes = forms.probes()
    tried = [forms.fastest(probes, estimator), probes[INT8], probes[FP32]]
    # Additive prices are good for a search; what is claimed here is what the form that is executed would cost.
    mixed = min(tried, key=lambda form: estimator.estimate(form.ops).latency_ms)
    graphs = {name: PricedGraph(form.ops, estimator) for name, form in {**probes, "mixed": mixed}.items()}
    shown = {name: graphs[name] for name in _NAMES if name in graphs}
    evidence = Evidence(graphs[INT8], GivenModel(probes[INT8].model, forms.builder.rules), estimator, runtime)
    before, after = (split_time(graphs[name], forms.regions) for name in (FP32, INT8))
    rows = _region_rows(forms.regions, before, after, evidence)
    slower = [row["region"] for row in reversed(rows) if row["saves_ms"] < -_NOTICEABLE * given.latency_ms]
    document: dict[str, Any] = {
        "forms": [_form_row(name, graph.estimate, given) for name, graph in shown.items()],
        "kinds": _kind_rows(graphs[FP32], graphs[INT8]),
        "regions": rows,
        "outside_float_ms": before.outside.total_us / 1e3,
        "outside_int8_ms": after.outside.total_us / 1e3,
        "slower": slower,
        "float_regions": _kept_float(forms.regions, mixed),
    }
    return {**document, "sentences": _sentences(document)}


def _form_row(name: str, estimate: EstimatedLatency, given: EstimatedLatency) -> dict[str, Any]:
    speedup = estimated_speedup(given, estimate)
    return {
        "form": name,
        "name": _NAMES[name],
        "latency_ms": estimate.latency_ms,
        "interval90_ms": estimate.interval90_ms.to_list(),
        "coverage": estimate.coverage,
        "speedup": speedup.speedup,
        "speedup_interval90": speedup.interval90.to_list(),
    }


def _kind_rows(before: PricedGraph, after: PricedGraph) -> list[dict[str, Any]]:
    """Both forms by kind of operator, what takes most of the int8 form first."""
    floats, integers = kinds(before), kinds(after)
    rows = []
    for kind in dict.fromkeys([*integers, *floats]):
        was, now = floats.get(kind), integers.get(kind)
        float_ms, int8_ms = (row["latency_ms"] if row else 0.0 for row in (was, now))
        rows.append(
            {
                "kind": kind,
                "float_operators": was["operators"] if was else 0,
                "float_ms": float_ms,
                "int8_operators": now["operators"] if now else 0,
                "int8_ms": int8_ms,
                "factor": float_ms / int8_ms if float_ms and int8_ms else None,
                "int8_share": int8_ms * 1e3 / after.total_us,
            }
        )
    return sorted(rows, key=lambda row: -max(float(row["int8_ms"]), float(row["float_ms"])))


def _region_rows(
    regions: Sequence[Region], before: SplitTime, after: SplitTime, evidence: Evidence
) -> list[dict[str, Any]]:
    """Regions by what int8 saves, the largest saving first."""
    rows = [
        _region_row(region, was, now, evidence)
        for region, was, now in zip(regions, before.regions, after.regions, strict=True)
    ]
    return sorted(rows, key=lambda row: -float(row["saves_ms"]))


def _region_row(region: Region, was: RegionTime, now: RegionTime, evidence: Evidence) -> dict[str, Any]:
    reasons = reasons_of_region(was, now, evidence)
    return {
        "region": region.name,
        "op_type": region.op_type,
        "units": [unit.name for unit in region.units],
        "float_ms": was.total_us / 1e3,
        "int8_ms": now.total_us / 1e3,
        "saves_ms": (was.total_us - now.total_us) / 1e3,
        "factor": was.total_us / now.total_us if now.total_us else None,
        "float_parts_ms": {part: us / 1e3 for part, us in was.us.items()},
        "int8_parts_ms": {part: us / 1e3 for part, us in now.us.items()},
        "reasons": [reason.to_dict() for reason in reasons],
        "note": "; ".join(reason.text for reason in reasons),
    }


def _kept_float(regions: Sequence[Region], mixed: Form) -> list[str]:
    return [region.name for region, option in zip(regions, mixed.options, strict=True) if option == FP32]


def _sentences(document: Mapping[str, Any]) -> list[str]:
    forms = {row["form"]: row for row in document["forms"]}
    said = [_total(forms["int8"], document["slower"])]
    if "int8_dynamic" in forms:
        said.append(_speed(forms["int8_dynamic"]))
    kept = document["float_regions"]
    said += _mixed(forms, len(kept), len(document["regions"]), bool(document["slower"]))
    return [*said, *_culprits(document)]


def _total(row: Mapping[str, Any], slower: Sequence[str]) -> str:
    if not slower:
        return f"{_speed(row)}; no region would get slower"
    return f"{_speed(row)}; {words.plural(len(slower), 'region')} would get slower: {words.few(slower)}"


def _mixed(forms: Mapping[str, Mapping[str, Any]], kept: int, regions: int, slower: bool) -> list[str]:
    mixed, int8 = forms["mixed"], forms["int8"]
    if kept == regions:
        return ["no form with int8 is faster than the one in float"]
    if mixed["latency_ms"] < _CLEARLY_FASTER * int8["latency_ms"]:
        return [f"{_speed(mixed)}; {kept} of {words.plural(regions, 'region')} stay in float"]
    return ["keeping those in float gives no more: conversions take back what it saves"] if slower else []


def _speed(row: Mapping[str, Any]) -> str:
    low, high = row["speedup_interval90"]
    latency = words.time(row["latency_ms"] * 1e3)
    return f"{row['name']}: estimated {words.factor(row['speedup'])} (90 %: {low:.2f} to {high:.2f}x), {latency}"


def _culprits(document: Mapping[str, Any]) -> list[str]:
    """Which kinds of operators the int8 form still spends its time on without gaining there."""
    forms = {row["form"]: row for row in document["forms"]}
    overall = forms["int8"]["speedup"]
    slow = [r for r in document["kinds"] if r["int8_share"] > 0.08 and (r["factor"] or 0.0) < max(1.5, 0.8 * overall)]
    texts = [_culprit(row) for row in slow[:_MOST_CULPRITS]]
    return [f"what holds int8 back: {'; '.join(texts)}"] if texts else []


def _culprit(row: Mapping[str, Any]) -> str:
    now, was = words.time(row["int8_ms"] * 1e3), words.time(row["float_ms"] * 1e3)
    changed = row["int8_operators"] != row["float_operators"]
    counted = f", {row['int8_operators']} operators instead of {row['float_operators']}" if changed else ""
    takes = "take" if row["kind"].endswith("s") else "takes"
    return f"{row['kind']} {takes} {now} ({was} in float{counted})"
