"""Recovers what a compression lost, from unlabelled samples, with the original as the teacher.

    resolve              finds new weights: closed form, then distillation, as the level says (imports torch)
    recover              puts them into the model (needs neither torch nor data)
    expected_seconds     says beforehand how long a level takes, from timed steps (imports torch)

Student and teacher have inputs and outputs of the same names; tensors that keep their names and shapes can be compared.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy.typing as npt
from onnx import ModelProto

from autocompress.passes.recover.config import DISTILLATIONS, LEVELS, OUTPUT_LOSSES, RecoverConfig
from autocompress.passes.recover.payload import RecoverPayload, recover
from autocompress.passes.recover.samples import Batches
from autocompress.progress import NullProgress, Progress

__all__ = [
    "DISTILLATIONS",
    "LEVELS",
    "OUTPUT_LOSSES",
    "Batches",
    "RecoverConfig",
    "RecoverPayload",
    "expected_seconds",
    "recover",
    "resolve",
]


def resolve(
    student: ModelProto,
    teacher: ModelProto,
    config: RecoverConfig,
    batches: Batches,
    *,
    progress: Progress | None = None,
    deadline_s: float | None = None,
    labels: npt.NDArray[Any] | None = None,
    checkpoint: Path | None = None,
) -> RecoverPayload:
    """Finds weights with which the compressed model does what the original does.

    Never worse than the start by held-out distillation loss; Ctrl-C and the deadline keep the best so far.

    Args:
        student: the compressed model; not changed.
        teacher: the original; not changed.
        config: of the step.
        batches: a pass over the unlabelled samples.
        progress: told about stages, losses and time left.
        deadline_s: seconds that training may take; the learning rate falls so that it ends then.
        labels: integer classes in the order of the samples, for a task loss on the first output; None has none.
        checkpoint: file by which an interrupted training goes on; None keeps none.

    Raises:
        RecipeError: the two models do not fit each other, or there is nothing to train.
        ModelError: an operator cannot be trained.
        DataError: there are no samples, or the labels do not fit them.
        StorageError: the checkpoint cannot be read or written.
    """
    from autocompress.passes.recover.resolution import resolve_recovery

    return resolve_recovery(
        student, teacher, config, batches, progress or NullProgress(), deadline_s, labels, checkpoint
    )


def expected_seconds(
    student: ModelProto, teacher: ModelProto, config: RecoverConfig, batches: Batches, *, timed_steps: int = 3
) -> float:
    """Seconds that ``resolve`` will take on this machine, from a few timed steps.

    Args:
        student: the compressed model.
        teacher: the original.
        config: of the step.
        batches: a pass over the samples.
        timed_steps: steps to time after one to warm up; their fastest counts.

    Raises:
        RecipeError: the two models do not fit each other, or there is nothing to train.
        ModelError: an operator cannot be trained.
    """
    from autocompress.passes.recover.expected_time import seconds_of

    return seconds_of(student, teacher, config, batches, timed_steps)
