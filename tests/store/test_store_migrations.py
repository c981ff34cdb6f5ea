"""Schema steps: each with its record in one transaction."""

from __future__ import annotations

import pytest
from sqlalchemy import inspect
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from autocompress.errors import StorageError
from autocompress.store.connection import make_engine
from autocompress.store.location import locate
from autocompress.store.migrations import current_version, migrate, newest
from autocompress.store.tables import metadata


@pytest.fixture
def place(tmp_path):
    location = locate(tmp_path / "a.db")
    return location, make_engine(location, 1.0)


def add_note(connection):
    connection.exec_driver_sql("ALTER TABLE autocompress_studies ADD COLUMN note TEXT")


def add_rating(connection):
    connection.exec_driver_sql("CREATE TABLE autocompress_ratings (rating INTEGER)")
    connection.exec_driver_sql("INSERT INTO autocompress_ratings VALUES (1)")


def fail_half_way(connection):
    add_rating(connection)
    connection.exec_driver_sql("ALTER TABLE no_such_table ADD COLUMN x TEXT")


def versions(engine):
    with engine.connect() as connection:
        query = "SELECT version FROM autocompress_schema_version ORDER BY version"
        return list(connection.exec_driver_sql(query).scalars())


def test_a_new_database_is_current_at_once(place):
    location, engine = place
    assert current_version(engine, location) == 0
    assert migrate(engine, location) == newest()
    assert migrate(engine, location) == newest()
    assert versions(engine) == list(range(1, newest() + 1))
    assert set(inspect(engine).get_table_names()) == set(metadata.tables)
    assert all(name.startswith("autocompress_") for name in metadata.tables)


def test_older_databases_take_the_steps_they_lack(place):
    location, engine = place
    migrate(engine, location, {})
    assert migrate(engine, location, {2: add_note}) == 2
    assert migrate(engine, location, {2: add_note, 3: add_rating}) == 3
    assert versions(engine) == [1, 2, 3]
    assert "note" in {c["name"] for c in inspect(engine).get_columns("autocompress_studies")}


def test_a_failing_step_leaves_the_version_before(place):
    location, engine = place
    migrate(engine, location, {})
    with pytest.raises(StorageError, match="no such table: no_such_table"):
        migrate(engine, location, {2: add_note, 3: fail_half_way})
    assert versions(engine) == [1, 2]
    assert not inspect(engine).has_table("autocompress_ratings")
    assert migrate(engine, location, {2: add_note, 3: add_rating}) == 3


def test_the_tables_are_plain_enough_for_postgresql():
    ddl = "".join(str(CreateTable(table).compile(dialect=postgresql.dialect())) for table in metadata.sorted_tables)
    assert "BIGINT" in ddl
    assert "REFERENCES autocompress_studies (id) ON DELETE CASCADE" in ddl


def test_a_database_of_the_first_version_gets_the_columns_of_today(place):
    location, engine = place
    migrate(engine, location, {})
    estimated = ("estimated_speedup", "estimated_speedup_low", "estimated_speedup_high", "latency_status")
    added = (*estimated, "deflate_bytes")
    with engine.begin() as connection:
        for name in added:
            connection.exec_driver_sql(f"ALTER TABLE autocompress_candidates DROP COLUMN {name}")
    assert migrate(engine, location) == newest()
    for table in metadata.sorted_tables:
        assert {c["name"] for c in inspect(engine).get_columns(table.name)} == {c.name for c in table.columns}
