"""The latency table: what each operator takes on one device, runtime, runtime version and thread count.

A table is one text file of JSON lines: a header, one record per operator, sorted by key, one line per whole model that
was timed, sorted by name, and a last line that shows that nothing is missing.  It is replaced as a whole, atomically;
while operators are being profiled, lines are appended to a journal beside it (``journal.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from autocompress.errors import StorageError, TableError
from autocompress.files import replacing
from autocompress.graph.signature import OpSignature
from autocompress.latency.composition import ObservedModel
from autocompress.latency.header import TableHeader, header_differences
from autocompress.latency.reading import END_LINE, read_table
from autocompress.latency.record import LatencyRecord
from autocompress.latency.whole_models import model_line


class LatencyTable:
    """Records by signature, and the whole models observed with them.

    Args:
        header: where they come from.
        records: of operators.
        models: of whole models, by name.

    Attributes:
        header: as given.
    """

    def __init__(
        self,
        header: TableHeader,
        records: Iterable[LatencyRecord] = (),
        models: Mapping[str, ObservedModel] | None = None,
    ) -> None:
        self.header = header
        self._records = {record.signature.key: record for record in records}
        self._models = dict(models or {})

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[LatencyRecord]:
        return iter(self._records.values())

    def __contains__(self, signature: OpSignature) -> bool:
        return signature.key in self._records

    @property
    def models(self) -> Mapping[str, ObservedModel]:
        """Whole models by name."""
        return MappingProxyType(self._models)

    def record(self, signature: OpSignature) -> LatencyRecord | None:
        """The record of an operator, valid or not; None without one."""
        return self._records.get(signature.key)

    def find(self, signature: OpSignature) -> LatencyRecord | None:
        """The valid record of an operator, or None."""
        record = self.record(signature)
        return record if record is not None and record.valid else None

    def add(self, record: LatencyRecord) -> None:
        """Adds or replaces a record.

        Raises:
            ValueError: when its times cannot be.
        """
        record.check()
        self._records[record.signature.key] = record

    def add_model(self, name: str, model: ObservedModel) -> None:
        """Adds or replaces a whole model."""
        self._models[name] = model

    @classmethod
    def load(cls, path: str | Path) -> LatencyTable:
        """Reads and checks a table, of this schema or an older one.

        Raises:
            TableError: saying which line is wrong and why.
        """
        reading = read_table(path)
        if reading.faults:
            first, others = reading.faults[0], len(reading.faults) - 1
            more = f" ({others} more faults: see `autocompress table validate {Path(path).name}`)" if others else ""
            raise TableError(f"{first}{more}")
        assert reading.header is not None
        return cls(reading.header, reading.records.values(), reading.models)

    def save(self, path: str | Path) -> None:
        """Writes the table atomically, records sorted by key, models by name.

        Raises:
            StorageError: when the place cannot be written.
        """
        path = Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as file:
                file.writelines(f"{line}\n".encode() for line in self._lines())
        except OSError as error:
            raise StorageError(f"cannot write {path.name} in {path.parent}: {error.strerror or error}") from error

    def _lines(self) -> Iterator[str]:
        yield self.header.to_line()
        for key in sorted(self._records):
            yield self._records[key].to_line()
        for name in sorted(self._models):
            yield model_line(name, self._models[name])
        yield END_LINE


__all__ = ["LatencyTable", "TableHeader", "header_differences"]
