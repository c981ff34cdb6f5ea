"""Quantization-aware training by distillation: the last word on a quantized model.

The student is the emitted model itself.  Its weights are trained behind their integers, together with the step sizes of
weights and activations (Esser et al., "Learned Step Size Quantization", ICLR 2020), to give what the original gives.
What was learnt is kept under the names of the emitted model, so that what is deployed is what was trained.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto

from autocompress.graph.index import GraphIndex
from autocompress.graph.specs import input_specs
from autocompress.graph.torch_execution.weights import is_float, with_weights
from autocompress.passes.decompose.patches import run_with_onnxruntime
from autocompress.passes.quantize.weights import BIAS_LIMIT
from autocompress.passes.reconstruct.judge import HeldOutJudge
from autocompress.passes.reconstruct.lesson import Lesson
from autocompress.passes.recover.config import RecoverConfig
from autocompress.passes.recover.end_to_end import Distillation
from autocompress.passes.recover.pair import Pair
from autocompress.passes.recover.quantized import tie_bias_steps
from autocompress.passes.recover.samples import Samples
from autocompress.passes.recover.training import Training
from autocompress.progress import Progress

Array = npt.NDArray[Any]


def distilled(
    candidate: ModelProto,
    floats: ModelProto,
    lesson: Lesson,
    config: RecoverConfig,
    rigid_results: Collection[str],
    progress: Progress,
    deadline_s: float | None = None,
) -> dict[str, Array]:
    """Trains a quantized model.

    Args:
        candidate: the emitted model; not changed.
        floats: the float model that it was rounded from.
        lesson: teacher and samples.
        config: of the training.
        rigid_results: operators whose results keep their step size, because kernels compute wrongly with others.
        progress: told about steps and losses, and why nothing was learnt.
        deadline_s: seconds that training may take; None lets it take all its steps.

    Returns:
        Name of an initializer of the candidate -> values of its type; none where the trained model, as the runtime
        computes it, is no nearer to the teacher on samples that were held out.

    Raises:
        RecipeError: the models do not fit each other.
        ModelError: an operator cannot be trained.
        DataError: there are no samples, or the labels do not fit them.
    """
    if not lesson.same_inside:
        config = replace(config, feature_weight=0.0, features=None)
    pair = Pair(candidate, lesson.teacher, config, floats, _fixed_steps(candidate, rigid_results))
    samples = Samples(lesson.batches, input_specs(candidate), lesson.labels)
    progress.stage("reconstruct: distillation", config.total_steps, deadline_s)
    problem = Distillation(pair, samples, config).problem()
    Training(problem, config, config.total_steps, progress, deadline_s, lesson.checkpoint).run()
    tie_bias_steps(pair.student, candidate)
    changed = pair.student.changed_weights()
    if not changed:
        return {}
    if not all(_is_sound(values, name in pair.steps) for name, values in changed.items()):
        progress.notice("distillation was left out: a step size or a bias left the numbers that integer kernels have")
        return {}
    learnt = _stored(candidate, changed)
    judge = HeldOutJudge(lesson.teacher, samples, config, run_with_onnxruntime)
    before, after = judge.loss(candidate), judge.loss(with_weights(candidate, learnt))
    if not after < before:
        progress.notice(f"distillation was left out: held-out loss {after:.4g} is not below the {before:.4g} before")
        return {}
    return learnt


def _fixed_steps(model: ModelProto, rigid_results: Collection[str]) -> frozenset[str]:
    """Scales of the results of some operators."""
    index = GraphIndex(model)
    found = set()
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            source = index.producers.get(node.input[0])
            if node.op_type == "DequantizeLinear" and source is not None and source.op_type == "QuantizeLinear":
                source = index.producers.get(source.input[0])
            if source is not None and source.op_type in rigid_results:
                found.add(node.input[1])
    return frozenset(found)


def _stored(model: ModelProto, values: Mapping[str, Array]) -> dict[str, Array]:
    """Values in the types of a model; integers of 4 bits one per byte, as files of arrays have no narrower ones."""
    index = GraphIndex(model)
    found = {}
    for name, array in values.items():
        before = index.weight(name)
        wide = np.float32 if is_float(before) else np.int8
        whole = array if is_float(before) else np.rint(array)
        found[name] = whole.astype(before.dtype if before.dtype.kind in "iuf" else wide)
    return found


def _is_sound(values: Array, is_step: bool) -> bool:
    """Whether values are finite and within what integer biases may be, and step sizes positive."""
    real = values.astype(np.float64)
    low = np.finfo(np.float32).tiny if is_step else -BIAS_LIMIT
    return bool(((real >= low) & (real <= BIAS_LIMIT)).all())
