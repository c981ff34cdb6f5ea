"""Begins a study, or takes one up again, and keeps a second process from running the same one."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from autocompress.api.request import Request
from autocompress.api.versions import installed_versions
from autocompress.data.spool import cache_folder
from autocompress.errors import StorageError
from autocompress.store import NewStudy
from autocompress.store.resume import MAY_CHANGE

if TYPE_CHECKING:
    from autocompress.api.latency_model import LatencyModel
    from autocompress.store.store import Store


@contextlib.contextmanager
def started_study(request: Request, store: Store, latency: LatencyModel) -> Iterator[str]:
    """Creates the study of a run, or marks the one to resume as running; gives its name.

    What a study for another device has measured is estimates alone, so that a command that times finalists may be added
    when it is resumed.

    Raises:
        StorageError: when the name is taken, there is nothing to resume, the study was asked something else, or another
            process of this user runs it.
    """
    name = _resumed_name(request, store) if request.config.resume else _created(request, store, latency)
    with _running_alone(store, name):
        if request.config.resume:
            may_change = MAY_CHANGE | {"verify_command"} if latency.elsewhere else MAY_CHANGE
            options = request.config.to_options()
            store.check_resumable(name, request.fingerprint, options, may_change=may_change)
            store.set_status(name, "running")
        yield name


def _resumed_name(request: Request, store: Store) -> str:
    if request.config.study is not None:
        return request.config.study
    same = [h for h in store.list_studies() if h.study.model_fingerprint == request.fingerprint]
    if not same:
        raise StorageError(f"no study of this model is in {store.location} to resume; run without --resume first")
    return same[0].name


def _created(request: Request, store: Store, latency: LatencyModel) -> str:
    config, header = request.config, latency.header
    study = NewStudy(
        name=config.study or f"{request.label}-{datetime.now(UTC):%Y%m%d-%H%M%S}",
        model_fingerprint=request.fingerprint,
        model_path=str(request.model_path or request.label),
        model_size_bytes=request.size_bytes,
        runtime=header.runtime,
        runtime_version=header.runtime_version,
        device=latency.device,
        threads=header.threads,
        batch_size=config.batch_size,
        metric=str(config.metric or "automatic"),
        config=config.to_options(),
        versions=installed_versions(),
    )
    name = store.create_study(study).name if config.study else _create_under_free_name(store, study)
    store.optuna_study(name)
    return name


def _create_under_free_name(store: Store, study: NewStudy) -> str:
    """Creates a study under its name, or that with a number: another run may begin in the same second."""
    name, number = study.name, 1
    while True:
        try:
            return store.create_study(replace(study, name=name)).name
        except StorageError:
            if not store.exists(name):
                raise
        number += 1
        name = f"{study.name}-{number}"


@contextlib.contextmanager
def _running_alone(store: Store, name: str) -> Iterator[None]:
    """Holds a lock that the system gives back when this process ends, however it ends."""
    folder = cache_folder() / "running"
    folder.mkdir(exist_ok=True)
    path = folder / f"{hashlib.sha256(f'{store.location}{chr(0)}{name}'.encode()).hexdigest()[:24]}.lock"
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StorageError(
                f"study {name!r} is being run by another process; wait for it to end, or give another --study"
            ) from error
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
