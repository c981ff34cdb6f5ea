"""The study database: ours and Optuna's tables in one place."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import Connection, Engine, Table, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from autocompress.errors import StorageError
from autocompress.store import optuna_studies, reads
from autocompress.store.connection import reading, writing
from autocompress.store.export import write_study
from autocompress.store.location import Location
from autocompress.store.records import (
    CandidateRecord,
    LayerRecord,
    NewStudy,
    OperatorRecord,
    Role,
    Status,
    StudyHeader,
    StudyRecord,
)
from autocompress.store.resume import MAY_CHANGE, check_same
from autocompress.store.rows import candidate_row, layer_row, operator_row, study_row
from autocompress.store.tables import NAME_LENGTH, candidates, events, layers, operators, studies

if TYPE_CHECKING:
    from optuna import Study
    from optuna.samplers import BaseSampler
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial


class Store:
    """One open study database; a context manager.  Made by ``open_store``.

    Every method is one transaction: a process killed at any moment leaves what the last finished call wrote.  Every
    method raises ``StorageError`` when the database cannot be used, and when it names a study that is not there.

    Attributes:
        location: where it is; ``location.url_text`` is what ``optuna.load_study`` takes as its storage.
        engine: SQLAlchemy's engine.
    """

    def __init__(self, location: Location, engine: Engine, lock_wait_s: float) -> None:
        self.location = location
        self.engine = engine
        self._lock_wait_s = lock_wait_s
        self._optuna: RDBStorage | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes every connection; closing twice does nothing."""
        self.engine.dispose()
        if self._optuna is not None:
            self._optuna.remove_session()
            self._optuna.engine.dispose()
            self._optuna = None

    # Studies

    def create_study(self, study: NewStudy) -> StudyHeader:
        """Starts a study, with status "running".

        Raises:
            StorageError: when the name is taken, empty or too long.
        """
        if not study.name.strip() or len(study.name) > NAME_LENGTH:
            raise StorageError(f"a study's name has 1 to {NAME_LENGTH} characters; give another --study")
        now = datetime.now(UTC)
        row = {**study_row(study), "optuna_study_name": study.name, "created": now, "updated": now, "status": "running"}
        with writing(self.engine, self.location) as connection:
            try:
                connection.execute(insert(studies), [row])
            except IntegrityError as error:
                raise StorageError(
                    f"study {study.name!r} is already in {self.location}; continue it with --resume, "
                    "or give another --study"
                ) from error
            return reads.read_header(connection, self.location, study.name)

    def set_baseline(self, name: str, baseline: Mapping[str, Any]) -> None:
        """Records the uncompressed model's Measurement (JSON-ready)."""
        self._update_study(name, baseline=dict(baseline))

    def set_status(self, name: str, status: Status, stop_reason: str | None = None) -> None:
        """Records how the study stands, for instance "running" when it is resumed."""
        self._update_study(name, status=status, stop_reason=stop_reason)

    def finish_study(self, name: str, *, status: Status, stop_reason: str, summary: Mapping[str, Any]) -> None:
        """Records the end of a study and its summary in one go."""
        self._update_study(name, status=status, stop_reason=stop_reason, summary=dict(summary))

    def exists(self, name: str) -> bool:
        """Whether there is a study of that name."""
        with reading(self.engine, self.location) as connection:
            query = select(studies.c.id).where(studies.c.name == name)
            return connection.execute(query).scalar_one_or_none() is not None

    def header(self, name: str) -> StudyHeader:
        """One study without its rows."""
        with reading(self.engine, self.location) as connection:
            return reads.read_header(connection, self.location, name)

    def list_studies(self) -> tuple[StudyHeader, ...]:
        """All studies, the newest first."""
        with reading(self.engine, self.location) as connection:
            return reads.read_headers(connection)

    def load(self, name: str) -> StudyRecord:
        """One study with all its rows, as of one moment."""
        with reading(self.engine, self.location) as connection:
            return reads.read_study(connection, self.location, name)

    def check_resumable(
        self, name: str, fingerprint: str, config: Mapping[str, Any], *, may_change: Collection[str] = MAY_CHANGE
    ) -> None:
        """Makes sure that a study continues what it began.

        Args:
            name: the study.
            fingerprint: of the model at hand.
            config: the settings at hand.
            may_change: top-level settings that may differ, because they do not decide what a trial measures.

        Raises:
            StorageError: naming the first setting that differs.
        """
        check_same(self.header(name).study, fingerprint, config, may_change)

    def delete_study(self, name: str) -> None:
        """Deletes a study here and in Optuna; files that it emitted stay.

        Optuna's part goes first: a study that was only half deleted is still listed, and can be deleted again.
        """
        header = self.header(name)
        with optuna_studies.optuna_storage(self.location, self._lock_wait_s) as storage:
            optuna_studies.delete_if_present(storage, self.location, header.name)
        with writing(self.engine, self.location) as connection:
            identity = reads.study_id(connection, self.location, name)
            for table in (candidates, operators, layers, events):
                connection.execute(delete(table).where(table.c.study_id == identity))
            connection.execute(delete(studies).where(studies.c.id == identity))

    def export_study(self, name: str, path: str | os.PathLike[str]) -> None:
        """Writes everything known about a study as one JSON document.

        Raises:
            StorageError: when the file cannot be written.
        """
        write_study(self.load(name), path)

    # Rows

    def record_candidates(
        self, name: str, records: Sequence[CandidateRecord], *, trials: Sequence[FrozenTrial] | None = None
    ) -> tuple[CandidateRecord, ...]:
        """Writes candidates; one whose trial number is already there is replaced.

        Args:
            name: the study.
            records: candidates; several of one trial number in one call are an error.
            trials: the finished Optuna trial of each candidate, when Optuna's study in this database does not have it
                yet.  Both are then written in one transaction, and the candidates take the numbers that the trials
                get.

        Returns:
            The candidates as written.
        """
        if trials is None:
            return self._record_candidates(name, records, None)
        if len(trials) != len(records):
            raise ValueError(f"{len(records)} candidates but {len(trials)} trials")
        try:
            return self._record_candidates(name, records, trials)
        except optuna_studies.UnknownOptunaSchemaError:
            numbers = optuna_studies.add_one_by_one(self._optuna_storage(), self.location, name, trials)
            return self._record_candidates(name, _renumbered(records, numbers), None)

    def add_trials(self, name: str, trials: Sequence[FrozenTrial]) -> list[int]:
        """Writes finished trials to Optuna's study of that name in one transaction; returns their numbers."""
        try:
            with writing(self.engine, self.location) as connection:
                return optuna_studies.insert_trials(connection, self.location, name, trials)
        except optuna_studies.UnknownOptunaSchemaError:
            return optuna_studies.add_one_by_one(self._optuna_storage(), self.location, name, trials)

    def record_operators(self, name: str, role: Role, records: Sequence[OperatorRecord]) -> None:
        """Writes the executed operators of the baseline or of the best candidate, in place of those before."""
        rows = [{**operator_row(record), "role": role, "position": i} for i, record in enumerate(records)]
        with self._writing_study(name) as (connection, identity):
            old = delete(operators).where(operators.c.study_id == identity, operators.c.role == role)
            connection.execute(old)
            _insert(connection, operators, identity, rows)

    def record_layers(self, name: str, records: Sequence[LayerRecord]) -> None:
        """Writes the sensitivity rows, in place of those before."""
        with self._writing_study(name) as (connection, identity):
            connection.execute(delete(layers).where(layers.c.study_id == identity))
            _insert(connection, layers, identity, [layer_row(record) for record in records])

    def record_event(self, name: str, stage: str, message: str) -> None:
        """Writes that something happened now."""
        with self._writing_study(name) as (connection, identity):
            _insert(connection, events, identity, [{"time": datetime.now(UTC), "stage": stage, "message": message}])

    # Optuna

    def optuna_study(
        self,
        name: str,
        directions: Sequence[optuna_studies.Direction] = optuna_studies.DIRECTIONS,
        *,
        sampler: BaseSampler | None = None,
    ) -> Study:
        """The Optuna study of that name in this database, made if it is not there.

        Raises:
            StorageError: when it is there with other directions.
        """
        return optuna_studies.create_or_load(self._optuna_storage(), self.location, name, directions, sampler)

    # Parts

    def _optuna_storage(self) -> RDBStorage:
        if self._optuna is None:
            self._optuna = optuna_studies.open_optuna_storage(self.location, self._lock_wait_s)
        return self._optuna

    def _record_candidates(
        self, name: str, records: Sequence[CandidateRecord], trials: Sequence[FrozenTrial] | None
    ) -> tuple[CandidateRecord, ...]:
        with self._writing_study(name) as (connection, identity):
            if trials is not None:
                numbers = optuna_studies.insert_trials(connection, self.location, name, trials)
                records = _renumbered(records, numbers)
            numbers = [record.trial for record in records]
            if len(set(numbers)) != len(numbers):
                raise ValueError("several candidates of one trial number in one call")
            for chunk in _chunks(numbers):
                known = candidates.c.trial.in_(chunk)
                connection.execute(delete(candidates).where(candidates.c.study_id == identity, known))
            _insert(connection, candidates, identity, [candidate_row(record) for record in records])
        return tuple(records)

    def _update_study(self, name: str, **values: Any) -> None:
        with self._writing_study(name) as (connection, identity):
            connection.execute(update(studies).where(studies.c.id == identity).values(**values))

    @contextmanager
    def _writing_study(self, name: str) -> Iterator[tuple[Connection, int]]:
        """A transaction that marks the study as changed."""
        with writing(self.engine, self.location) as connection:
            identity = reads.study_id(connection, self.location, name)
            yield connection, identity
            connection.execute(update(studies).where(studies.c.id == identity).values(updated=datetime.now(UTC)))


def _insert(connection: Connection, table: Table, identity: int, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        connection.execute(insert(table), [{**row, "study_id": identity} for row in rows])


def _renumbered(records: Sequence[CandidateRecord], numbers: Sequence[int]) -> list[CandidateRecord]:
    return [replace(record, trial=number) for record, number in zip(records, numbers, strict=True)]


def _chunks(numbers: Sequence[int], size: int = 500) -> Iterator[Sequence[int]]:
    """Pieces that stay below every database's limit on the parameters of one statement."""
    for start in range(0, len(numbers), size):
        yield numbers[start : start + size]
