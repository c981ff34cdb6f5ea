"""From a compressed model, its original and unlabelled samples to recovered weights."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import numpy.typing as npt
from onnx import ModelProto

from autocompress.graph.specs import input_specs
from autocompress.passes.recover.closed_form import reconstruct_layers
from autocompress.passes.recover.config import RecoverConfig
from autocompress.passes.recover.end_to_end import Distillation
from autocompress.passes.recover.freed_memory import give_back
from autocompress.passes.recover.pair import Pair
from autocompress.passes.recover.part_wise import train_parts
from autocompress.passes.recover.payload import RecoverPayload
from autocompress.passes.recover.quantized import tie_bias_steps
from autocompress.passes.recover.samples import Batches, Samples
from autocompress.passes.recover.training import Training
from autocompress.progress import Progress


def resolve_recovery(
    student: ModelProto,
    teacher: ModelProto,
    config: RecoverConfig,
    batches: Batches,
    progress: Progress,
    deadline_s: float | None,
    labels: npt.NDArray[Any] | None,
    checkpoint: Path | None,
) -> RecoverPayload:
    """See ``autocompress.passes.recover.resolve``, which imports torch only when it is called."""
    start = time.monotonic()
    if config.level == "none":
        return RecoverPayload({}, {"level": "none"})
    give_back()
    pair = Pair(student, teacher, config)
    samples = Samples(batches, input_specs(student), labels)
    history: dict[str, Any] = {"level": config.level, "samples": len(samples)}
    if config.level == "closed_form" or config.closed_form:
        progress.stage("recover: closed form")
        history["reconstructed_layers"] = reconstruct_layers(pair, samples, config, progress)
        give_back()
    if config.trains:
        left_s = None if deadline_s is None else max(1.0, deadline_s - (time.monotonic() - start))
        progress.stage("recover: distillation", config.total_steps, left_s)
        if config.distillation == "end_to_end":
            history.update(_end_to_end(pair, samples, config, progress, left_s, checkpoint))
        else:
            history.update(train_parts(pair, samples, config, progress, left_s))
    tie_bias_steps(pair.student, student)
    history["seconds"] = time.monotonic() - start
    return RecoverPayload(pair.student.changed_weights(), history)


def _end_to_end(
    pair: Pair,
    samples: Samples,
    config: RecoverConfig,
    progress: Progress,
    deadline_s: float | None,
    checkpoint: Path | None,
) -> dict[str, Any]:
    distillation = Distillation(pair, samples, config)
    training = Training(distillation.problem(), config, config.total_steps, progress, deadline_s, checkpoint)
    give_back()
    training.run()
    return {
        "steps": training.step,
        "loss_before": _number(training.first_loss),
        "loss_after": _number(training.best_loss),
        "features": distillation.features,
        "losses": {name: loss.kind for name, loss in distillation.losses.items()},
    }


def _number(loss: float) -> float | None:
    """JSON has no infinity: None where the loss was not finite."""
    return loss if math.isfinite(loss) else None
