"""One model of a comparison: what every tool is given, and what it hands back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from evalset_inputs import Arrays, UserInputs, feeds, prepare, save_arrays, usual_samples
from goals import Goal
from independent_check import plain_session


class NotInstalled(Exception):
    """A tool is not there; its rows say so."""


@dataclass(frozen=True, eq=False)
class Case:
    """What a method may use.

    Attributes:
        judged: the samples that judge every method.
        given: the leading half of them, with labels, which only a method that searches may look at.
        calibration: .npz of unlabelled samples as the model takes them, the same for every tool.
        goal: what is asked of a search.
        work: folder for intermediate files.
        limit_s: seconds that one method may take.
        peer_python: runs tools that are not installed beside this package; None to look for them here.
        autocompress: the command.
    """

    judged: UserInputs
    given: UserInputs
    calibration: Path
    goal: Goal
    work: Path
    limit_s: float
    peer_python: Path | None
    autocompress: str

    @cached_property
    def held(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Indices of the judged samples that no method has seen."""
        return np.arange(_count(self.given.data), _count(self.judged.data))


@dataclass(frozen=True)
class Built:
    """What a method made.

    Attributes:
        cpu_s: processor seconds it took, calibration included, starting the tool and writing the file not.
        version: of the tool.
        notes: what a reader should know, as short sentences.
    """

    cpu_s: float
    version: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Method:
    """One row of the comparison.

    Attributes:
        tool: "ours" or the name of a peer.
        name: of the method, as the table shows it.
        build: writes the quantized model to the path it is given.
        tasks: tasks of the evaluation set that it is for; None for all.
    """

    tool: str
    name: str
    build: Callable[[Case, Path], Built]
    tasks: tuple[str, ...] | None = None


def make_case(
    folder: Path,
    work: Path,
    goal: Goal,
    *,
    model: Path | None = None,
    calibration_samples: int = 64,
    samples: int | None = None,
    limit_s: float = 600.0,
    peer_python: Path | None = None,
    autocompress: str = "autocompress",
) -> Case:
    """Prepares one model of an evaluation set.

    Args:
        folder: of the model.
        work: where to write; created.
        goal: of the search.
        model: ONNX file where it is kept apart.
        calibration_samples: leading samples of ``calib.npz`` that every tool gets.
        samples: leading samples of ``eval.npz`` that judge; None for all (1000 sentences).
        limit_s: seconds that one method may take.
        peer_python: see ``Case``.
        autocompress: the command.
    """
    judged = prepare(folder, work / "judged", model=model, n=samples or usual_samples(folder))
    total = _count(judged.data)
    half = total // 2 - total // 2 % 2  # sentences come in pairs
    given = prepare(folder, work / "given", model=model, n=half)
    with np.load(given.calibration, allow_pickle=False) as archive:
        leading = {name: archive[name][:calibration_samples] for name in archive.files}
    save_arrays(given.calibration, leading)
    names = [i.name for i in plain_session(given.model, 1).get_inputs()]
    calibration = work / "calibration.npz"
    save_arrays(calibration, feeds(given, given.calibration, names))
    return Case(judged, given, calibration, goal, work, limit_s, peer_python, autocompress)


def load_calibration(case: Case) -> Arrays:
    """The calibration samples: model input -> array whose first axis counts samples."""
    with np.load(case.calibration, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _count(file: Path) -> int:
    with np.load(file, allow_pickle=False) as archive:
        return min(len(archive[name]) for name in archive.files)
