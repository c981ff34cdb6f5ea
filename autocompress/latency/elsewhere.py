"""Predictors for the table of another device: trained on that table here, or those of a third device corrected by it.

A device's owner copies one file.  What prices operators that the table lacks follows from it: forests that were
trained on exactly this table (they ship, or are in the user's cache), else forests trained on it now, else, where it
holds too few records, forests of another device, corrected by what the table does hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from autocompress.errors import StorageError, TableError
from autocompress.latency.locate import LocatedTable, other_predictors, shipped_predictors_folder, user_cache
from autocompress.latency.predictor import Predictors, load_predictors
from autocompress.latency.train import train_predictors
from autocompress.progress import Progress

_FEWEST_RECORDS = 200  # below it, forests of another device that are corrected know more than forests of its own


@dataclass(frozen=True)
class FoundPredictors:
    """Predictors and where they come from.

    Attributes:
        predictors: forests; None if there are none.
        foreign: whether they were trained for yet another device.
        notices: sentences a person should read.
    """

    predictors: Predictors | None
    foreign: bool
    notices: tuple[str, ...]


def predictors_of_table(base: LocatedTable, progress: Progress) -> FoundPredictors:
    """The best predictors for the device that a table describes.

    Args:
        base: the table.
        progress: told when forests are trained, which takes some seconds.
    """
    header = base.table.header
    trained = _trained_on_it(base)
    if trained is not None:
        return FoundPredictors(trained, False, ())
    notices = []
    try:
        return FoundPredictors(_train(base, progress), False, ())
    except (TableError, StorageError) as error:
        notices.append(f"no predictors could be trained on {base.path.name}: {error}")
    for other in reversed(other_predictors(header.runtime)):
        try:
            predictors = load_predictors(other)
        except TableError as error:
            notices.append(str(error))
            continue
        notices.append(
            f"operators that {base.path.name} lacks are priced by predictors of another device ({other.name}), "
            "corrected by the records it has; their intervals are wide"
        )
        return FoundPredictors(predictors, True, tuple(notices))
    notices.append(f"there are no predictors for {header.runtime}: operators that the table lacks get a bound only")
    return FoundPredictors(None, False, tuple(notices))


def _train(base: LocatedTable, progress: Progress) -> Predictors:
    """Trains forests on a table, into the user's cache.

    Raises:
        TableError: when it holds too little to learn from.
        StorageError: when the cache cannot be written.
    """
    valid = sum(record.valid for record in base.table)
    if valid < _FEWEST_RECORDS:
        raise TableError(f"it has {valid} records, and {_FEWEST_RECORDS} are the fewest")
    progress.stage("train predictors for the device of the latency table")
    folder = user_cache() / "predictors" / base.table.header.stem
    train_predictors(base.path, folder, command=f"autocompress predictor train {base.path.name}")
    return load_predictors(folder, base.path)


def _trained_on_it(base: LocatedTable) -> Predictors | None:
    """Predictors that were trained on exactly this table: the user's own before those that ship."""
    shipped = shipped_predictors_folder(base.table.header)
    folders: list[Path] = [user_cache() / "predictors" / base.table.header.stem, *([shipped] if shipped else [])]
    for folder in folders:
        try:
            return load_predictors(folder, base.path)
        except TableError:  # of another table, damaged or not there: they are trained anew
            continue
    return None
