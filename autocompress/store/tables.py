"""The current schema: our tables, beside Optuna's in the same database.

Portable types only, so that the same code runs on SQLite and PostgreSQL.  A change here needs a step in
``migrations.py``.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

from autocompress.store.plain import to_json

metadata = MetaData()

NAME_LENGTH = 512  # Optuna's limit for study names


class JsonText(TypeDecorator[Any]):
    """A JSON document kept as text, the same on every database."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """To text."""
        return None if value is None else to_json(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """From text."""
        return None if value is None else json.loads(value)


class UtcTime(TypeDecorator[datetime]):
    """A time zone aware datetime, kept as naive UTC (SQLite keeps no zone)."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To naive UTC."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """To aware UTC."""
        return None if value is None else value.replace(tzinfo=UTC)


def _double(name: str) -> Column[float]:
    return Column(name, Float(53))


def _drop(prefix: str) -> tuple[Column[Any], ...]:
    return (
        _double(f"{prefix}_drop"),
        _double(f"{prefix}_drop_low"),
        _double(f"{prefix}_drop_high"),
        Column(f"{prefix}_n", Integer),
        Column(f"{prefix}_method", Text),
    )


def _latency(prefix: str) -> tuple[Column[Any], ...]:
    return (
        _double(f"{prefix}_ms"),
        _double(f"{prefix}_minimum_ms"),
        _double(f"{prefix}_spread_ms"),
        Column(f"{prefix}_repeats", Integer),
        Column(f"{prefix}_clock", Text),
    )


def _speedup(prefix: str) -> tuple[Column[Any], ...]:
    return (
        _double(f"{prefix}_speedup"),
        _double(f"{prefix}_speedup_low"),
        _double(f"{prefix}_speedup_high"),
        Column(f"{prefix}_rounds", Integer),
        *_latency(f"{prefix}_baseline"),
        *_latency(f"{prefix}_latency"),
    )


def _study_id() -> Column[int]:
    return Column(
        "study_id", Integer, ForeignKey("autocompress_studies.id", ondelete="CASCADE"), nullable=False, index=True
    )


schema_version = Table(
    "autocompress_schema_version",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("applied", UtcTime, nullable=False),
    Column("package_version", Text, nullable=False),
)

studies = Table(
    "autocompress_studies",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(NAME_LENGTH), nullable=False, unique=True),
    Column("optuna_study_name", String(NAME_LENGTH), nullable=False),
    Column("created", UtcTime, nullable=False),
    Column("updated", UtcTime, nullable=False),
    Column("status", Text, nullable=False),
    Column("stop_reason", Text),
    Column("model_fingerprint", Text, nullable=False),
    Column("model_path", Text, nullable=False),
    Column("model_size_bytes", BigInteger, nullable=False),
    Column("runtime", Text, nullable=False),
    Column("runtime_version", Text, nullable=False),
    Column("device", Text, nullable=False),
    Column("threads", Integer, nullable=False),
    Column("batch_size", Integer, nullable=False),
    Column("metric", Text, nullable=False),
    Column("config", JsonText, nullable=False),
    Column("baseline", JsonText),
    Column("summary", JsonText),
    Column("versions", JsonText, nullable=False),
)

candidates = Table(
    "autocompress_candidates",
    metadata,
    Column("id", Integer, primary_key=True),
    _study_id(),
    Column("trial", Integer, nullable=False),
    Column("recipe_hash", String(64), nullable=False, index=True),
    Column("recipe", JsonText, nullable=False),
    Column("origin", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("cause", Text),
    _double("predicted_drop"),
    _double("predicted_drop_low"),
    _double("predicted_drop_high"),
    _double("estimate_ms"),
    _double("estimate_low_ms"),
    _double("estimate_high_ms"),
    _double("estimate_coverage"),
    Column("estimate_nodes", Integer),
    _double("estimated_speedup"),
    _double("estimated_speedup_low"),
    _double("estimated_speedup_high"),
    Column("latency_status", Text),  # for people who read the database; follows from the rest
    *_drop("search"),
    *_speedup("search"),
    _double("damage"),
    *_latency("latency"),
    Column("size_bytes", BigInteger),
    Column("deflate_bytes", BigInteger),
    _double("build_s"),
    _double("evaluate_s"),
    *_drop("verified"),
    *_speedup("verified"),
    Column("artifact", Text),
    UniqueConstraint("study_id", "trial"),
)

operators = Table(
    "autocompress_operators",
    metadata,
    Column("id", Integer, primary_key=True),
    _study_id(),
    Column("role", Text, nullable=False),
    Column("position", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("op_type", Text, nullable=False),
    Column("layer", Text, nullable=False),
    Column("shape", Text, nullable=False),
    Column("dtype", Text, nullable=False),
    Column("parameters", BigInteger, nullable=False),
    Column("macs", BigInteger, nullable=False),
    Column("estimated_ms", Float(53), nullable=False),
    Column("source", Text, nullable=False),
    Column("share", Float(53), nullable=False),
)

layers = Table(
    "autocompress_layers",
    metadata,
    Column("id", Integer, primary_key=True),
    _study_id(),
    Column("layer", Text, nullable=False),
    Column("option", Text, nullable=False),
    _double("damage"),
    _double("estimated_ms"),
    Column("chosen", Boolean, nullable=False),
)

events = Table(
    "autocompress_events",
    metadata,
    Column("id", Integer, primary_key=True),
    _study_id(),
    Column("time", UtcTime, nullable=False),
    Column("stage", Text, nullable=False),
    Column("message", Text, nullable=False),
)
