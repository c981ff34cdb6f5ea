"""From a model and samples to a measured accuracy, a paired drop with its interval, and label-free damage."""

from __future__ import annotations

from autocompress.evaluate.chance import at_chance
from autocompress.evaluate.damage import Damage, measure_damage
from autocompress.evaluate.evaluation import Evaluation
from autocompress.evaluate.evaluator import LEFT_OUT_GROUPS, affordable_groups, evaluate, evaluate_reference
from autocompress.evaluate.metrics import Metric, resolve_metric
from autocompress.evaluate.reference import Reference, record_reference
from autocompress.evaluate.sequential import StopRule, clearly_fine, clearly_worse
from autocompress.evaluate.statistics import measure_drop, paired_drop

__all__ = [
    "LEFT_OUT_GROUPS",
    "Damage",
    "Evaluation",
    "Metric",
    "Reference",
    "StopRule",
    "affordable_groups",
    "at_chance",
    "clearly_fine",
    "clearly_worse",
    "evaluate",
    "evaluate_reference",
    "measure_damage",
    "measure_drop",
    "paired_drop",
    "record_reference",
    "resolve_metric",
]
