"""What calibration learns about tensors: enough for every range algorithm and every closed-form correction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from autocompress.calibration.channels import ChannelStatistics
from autocompress.calibration.exact_sum import ExactSum
from autocompress.calibration.histogram import DoubleArray, Histogram
from autocompress.errors import DataError


@dataclass(frozen=True, eq=False)
class TensorStatistics:
    """What one tensor held over all samples.

    ``merge`` is exact in everything but the floating-point sums, which agree to rounding.  Every field that range
    algorithms read is exact, so ranges depend on neither the order of the samples nor on how they were sharded.

    Attributes:
        count: values seen.
        samples: samples that had at least one value.
        zeros: values that were exactly zero.
        minimum: smallest value, exact; 0 when count is 0.
        maximum: largest value, exact; 0 when count is 0.
        sum: of all values.
        sum_of_squares: of all values.
        sum_of_minima: sum over samples of the sample's smallest value.
        sum_of_maxima: sum over samples of the sample's largest value.
        histogram: of all values.
        channels: per-channel statistics; None where the tensor has no channel axis or its size varied.
    """

    count: int = 0
    samples: int = 0
    zeros: int = 0
    minimum: float = 0.0
    maximum: float = 0.0
    sum: float = 0.0
    sum_of_squares: float = 0.0
    sum_of_minima: ExactSum = field(default_factory=ExactSum)
    sum_of_maxima: ExactSum = field(default_factory=ExactSum)
    histogram: Histogram = field(default_factory=Histogram.empty)
    channels: ChannelStatistics | None = None

    @property
    def abs_max(self) -> float:
        """Largest magnitude."""
        return max(-self.minimum, self.maximum)

    @property
    def mean(self) -> float:
        """Mean of all values (0 without values)."""
        return self.sum / self.count if self.count else 0.0

    @property
    def variance(self) -> float:
        """Population variance of all values (0 without values)."""
        return max(self.sum_of_squares / self.count - self.mean**2, 0.0) if self.count else 0.0

    @property
    def mean_minimum(self) -> float:
        """Mean over samples of the sample's smallest value (0 without values)."""
        return self.sum_of_minima.mean(self.samples) if self.samples else 0.0

    @property
    def mean_maximum(self) -> float:
        """Mean over samples of the sample's largest value (0 without values)."""
        return self.sum_of_maxima.mean(self.samples) if self.samples else 0.0

    @property
    def channel_mean(self) -> DoubleArray | None:
        """Mean of each channel, of shape (channels,), where channels are known."""
        return None if self.channels is None else self.channels.mean

    def merge(self, other: TensorStatistics) -> TensorStatistics:
        """Statistics of both sets of samples together."""
        if self.count == 0 or other.count == 0:
            return other if self.count == 0 else self
        channels = None
        if self.channels is not None and other.channels is not None:
            channels = self.channels.merge(other.channels)
        return TensorStatistics(
            count=self.count + other.count,
            samples=self.samples + other.samples,
            zeros=self.zeros + other.zeros,
            minimum=min(self.minimum, other.minimum),
            maximum=max(self.maximum, other.maximum),
            sum=self.sum + other.sum,
            sum_of_squares=self.sum_of_squares + other.sum_of_squares,
            sum_of_minima=self.sum_of_minima.merge(other.sum_of_minima),
            sum_of_maxima=self.sum_of_maxima.merge(other.sum_of_maxima),
            histogram=self.histogram.merge(other.histogram),
            channels=channels,
        )


class Statistics(Mapping[str, TensorStatistics]):
    """Statistics of the tensors of one model.

    Attributes:
        samples: samples seen.
    """

    def __init__(self, tensors: Mapping[str, TensorStatistics], samples: int) -> None:
        self._tensors = dict(tensors)
        self.samples = samples

    def __getitem__(self, name: str) -> TensorStatistics:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def merge(self, other: Statistics) -> Statistics:
        """Statistics of two disjoint shards of samples together.

        Raises:
            DataError: when the shards do not cover the same tensors.
        """
        different = sorted(set(self) ^ set(other))
        if different:
            raise DataError(
                f"cannot merge statistics of different tensors: {different[0]!r} is in only one of them; "
                "collect both shards from the same model"
            )
        merged = {name: statistics.merge(other[name]) for name, statistics in self.items()}
        return Statistics(merged, self.samples + other.samples)

    def with_tensors(self, other: Mapping[str, TensorStatistics]) -> Statistics:
        """The same samples with the statistics of further tensors added (or replaced)."""
        return Statistics({**self._tensors, **other}, self.samples)

    def save(self, path: str | Path) -> None:
        """Writes an ``.npz`` file at exactly ``path``, whole or not at all.

        Raises:
            DataError: when the file cannot be written.
        """
        from autocompress.calibration.statistics_file import write

        write(self, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> Statistics:
        """Reads what ``save`` wrote.

        Raises:
            DataError: when the file is missing, damaged, inconsistent or of a newer format.
        """
        from autocompress.calibration.statistics_file import read

        return read(Path(path))
