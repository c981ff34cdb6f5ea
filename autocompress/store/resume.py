"""Whether a study may be continued with what is at hand now."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from autocompress.errors import StorageError
from autocompress.store.plain import first_difference, json_ready
from autocompress.store.records import NewStudy

# How long to search, how to run and where to write: none of them decides what a trial measures.  The model's path may
# change because its fingerprint is compared instead.
MAY_CHANGE = frozenset(
    {
        "model",
        "trials",
        "timeout",
        "timeout_s",
        "workers",
        "output",
        "storage",
        "resume",
        "study",
        "json",
        "quiet",
        "verify_timeout",
    }
)


def check_same(
    study: NewStudy, fingerprint: str, config: Mapping[str, Any], may_change: Collection[str] = MAY_CHANGE
) -> None:
    """Makes sure that a study would go on with the same model, targets and budgets.

    Args:
        study: as it was started.
        fingerprint: of the model at hand.
        config: settings at hand.
        may_change: top-level settings that may differ.

    Raises:
        StorageError: naming the first setting that differs.
    """
    if fingerprint != study.model_fingerprint:
        raise StorageError(
            f"study {study.name!r} was started with another model (model fingerprint {study.model_fingerprint[:12]}, "
            f"now {fingerprint[:12]}); give another --study"
        )
    old, new = (
        {key: value for key, value in json_ready(document).items() if key not in may_change}
        for document in (study.config, config)
    )
    difference = first_difference(old, new)
    if difference is not None:
        path, before, now = difference
        raise StorageError(
            f"study {study.name!r} was started with {path} = {_shown(before)}, not {_shown(now)}; "
            "resume it with the same value, or give another --study"
        )


def _shown(value: Any) -> str:
    return "nothing" if value is None else repr(value)
