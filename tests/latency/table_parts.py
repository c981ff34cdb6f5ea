"""Small tables, and what tests of their files need."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autocompress.graph.signature import OpSignature, TensorType
from autocompress.latency.composition import ObservedModel
from autocompress.latency.device import Device
from autocompress.latency.header import TableHeader
from autocompress.latency.record import LatencyRecord
from autocompress.latency.table import LatencyTable

DEVICE = Device("amd", "25-17", "a processor", ("avx2", "fma"), 2)
HEADER = TableHeader(DEVICE, "onnxruntime", "1.31.1", 1, "cpu", "2025-01-01", "a command", {"launch_us": 0.2})
MODEL = ObservedModel("resnet", 100.0, 12, {"conv_float": 4.5}, {"float": 1.5, "int8": 0.25}, 110.0)
NOBODY = 65534


def signature(width: int = 8) -> OpSignature:
    x = TensorType("float32", (1, width))
    return OpSignature("", "Gemm", (x, TensorType("float32", (width, 4), True)), (TensorType("float32", (1, 4)),))


def record(width: int = 8, minimum_us: float = 2.0) -> LatencyRecord:
    return LatencyRecord(signature(width), minimum_us * 1.1, minimum_us, 0.1, 20)


def invalid(width: int, reason: str = "could not run") -> LatencyRecord:
    return LatencyRecord(signature(width), 0.0, 0.0, 0.0, 0, reason)


def saved(path: Path, *records: LatencyRecord, header: TableHeader = HEADER, **models: ObservedModel) -> Path:
    LatencyTable(header, records, models).save(path)
    return path


def keys(*widths: int) -> set[str]:
    return {signature(width).key for width in widths}


def keys_in(table: LatencyTable) -> set[str]:
    return {each.signature.key for each in table}


def names_in(folder: Path) -> list[str]:
    """What is in a folder, locks left out."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


@contextmanager
def files_limited_to(size_bytes: int) -> Iterator[None]:
    """No file of this process may grow beyond that: what a full disk looks like to a writer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


@contextmanager
def without_privileges() -> Iterator[None]:
    """Permissions count for root as well."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if user == 0:
            os.seteuid(user)
