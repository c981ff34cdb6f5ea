"""Optuna's trials as rows of Optuna's tables."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

DETAIL_TABLES = (
    "trial_intermediate_values",
    "trial_params",
    "trial_system_attributes",
    "trial_user_attributes",
    "trial_values",
)


def detail_rows(identities: Sequence[int], trials: Sequence[FrozenTrial]) -> dict[str, list[dict[str, Any]]]:
    """Rows of the tables below ``trials``, per table."""
    from optuna.distributions import distribution_to_json

    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in DETAIL_TABLES}
    for trial_id, trial in zip(identities, trials, strict=True):
        for objective, value in enumerate(trial.values or ()):
            stored, kind = _stored_number(value)
            rows["trial_values"].append(
                {"trial_id": trial_id, "objective": objective, "value": stored, "value_type": kind}
            )
        for step, value in trial.intermediate_values.items():
            stored, kind = _stored_number(value)
            rows["trial_intermediate_values"].append(
                {
                    "trial_id": trial_id,
                    "step": step,
                    "intermediate_value": stored,
                    "intermediate_value_type": kind,
                }
            )
        for param, value in trial.params.items():
            distribution = trial.distributions[param]
            rows["trial_params"].append(
                {
                    "trial_id": trial_id,
                    "param_name": param,
                    "param_value": distribution.to_internal_repr(value),
                    "distribution_json": distribution_to_json(distribution),
                }
            )
        for table, attributes in (
            ("trial_user_attributes", trial.user_attrs),
            ("trial_system_attributes", trial.system_attrs),
        ):
            rows[table] += [
                {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)} for key, value in attributes.items()
            ]
    return rows


def _stored_number(value: float) -> tuple[float | None, str]:
    """(column value, kind) as Optuna keeps numbers: only finite ones as such."""
    if math.isnan(value):
        return None, "NAN"
    if math.isinf(value):
        return None, "INF_POS" if value > 0 else "INF_NEG"
    return value, "FINITE"


def naive_utc(time: datetime | None) -> datetime | None:
    """Optuna's trials carry naive local times; its tables naive UTC."""
    return None if time is None else time.astimezone(UTC).replace(tzinfo=None)
