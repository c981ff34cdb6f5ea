"""How long a recovery will take here, from a few timed steps."""

from __future__ import annotations

import time
from dataclasses import replace

from onnx import ModelProto

from autocompress.graph.specs import input_specs
from autocompress.passes.recover.closed_form import reconstruct_layers
from autocompress.passes.recover.config import RecoverConfig
from autocompress.passes.recover.end_to_end import Distillation
from autocompress.passes.recover.pair import Pair
from autocompress.passes.recover.samples import Batches, Samples
from autocompress.passes.recover.training import EVALUATIONS, Training
from autocompress.progress import NullProgress

_JUDGED = EVALUATIONS + 1  # the first one included


def seconds_of(
    student: ModelProto, teacher: ModelProto, config: RecoverConfig, batches: Batches, timed_steps: int
) -> float:
    """See ``autocompress.passes.recover.expected_seconds``."""
    if config.level == "none":
        return 0.0
    pair = Pair(student, teacher, config)
    samples = Samples(batches, input_specs(student))
    total = 0.0
    if config.level == "closed_form" or config.closed_form:
        start = time.monotonic()
        reconstruct_layers(pair, samples, config, NullProgress())
        total += time.monotonic() - start
    if config.trains:
        total += _training_seconds(pair, samples, config, timed_steps)
    return total


def _training_seconds(pair: Pair, samples: Samples, config: RecoverConfig, timed_steps: int) -> float:
    """Steps and evaluations of a distillation of the whole; one of parts takes no longer."""
    distillation = Distillation(pair, samples, replace(config, distillation="end_to_end"))
    training = Training(distillation.problem(), config, timed_steps + 1, NullProgress())
    durations = []
    for _ in range(timed_steps + 1):
        start = time.monotonic()
        training.advance()
        durations.append(time.monotonic() - start)
    start = time.monotonic()
    distillation.judge()
    judged = time.monotonic() - start
    return min(durations[1:] or durations) * config.total_steps + judged * _JUDGED
