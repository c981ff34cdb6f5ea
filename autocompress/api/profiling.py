"""Which operators ``profile --model`` times: those of a model and of its quantized forms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import onnx

from autocompress.api.feeds import bound_model, random_feeds
from autocompress.errors import ModelError, NothingToCompress, RuntimeFailure
from autocompress.graph.model import fingerprint, load_model, model_bytes
from autocompress.passes.quantize import FP32, INT8, INT8_DYNAMIC, QuantizeConfig, QuantizePayload
from autocompress.recipe.builder import CandidateBuilder, prepare
from autocompress.recipe.recipe import FrozenRecipe, Recipe
from autocompress.runtimes.protocol import ExecutedOp, Runtime

# Latency does not depend on ranges, so any will do.
_ANY_RANGE = (-4.0, 4.0)
_NONNEGATIVE_RANGE = (0.0, 4.0)


def operators_to_profile(
    engine: Runtime, model: str | Path, shapes: Mapping[str, tuple[int, ...]], batch_size: int, threads: int
) -> Iterator[list[ExecutedOp]]:
    """Executed operators of a model and of its quantized forms, with standalone models, in portions.

    Raises:
        ModelError: when the model cannot be used.
    """
    for proto in model_forms(load_model(model), engine.name):
        bound = bound_model(proto, shapes, batch_size)
        try:
            yield list(engine.executed_ops(model_bytes(bound), random_feeds(bound), threads=threads))
        except RuntimeFailure as error:
            raise ModelError(f"the runtime cannot run the model: {error}") from error


def model_forms(model: onnx.ModelProto, runtime: str) -> Iterator[onnx.ModelProto]:
    """The model itself, all int8, all dynamic int8 where possible, and two that alternate precisions."""
    yield model
    builder = CandidateBuilder(prepare(model), runtime, fingerprint(model))
    units = builder.quantizer.units
    if not units:
        raise NothingToCompress("the model has no operator that this runtime can run in int8; only float was timed")
    # A fused activation is absorbed only where the range begins at zero.
    ranges = {u.output: _NONNEGATIVE_RANGE if len(u.nodes) > 1 else _ANY_RANGE for u in units}
    payload = QuantizePayload(ranges={**dict.fromkeys(builder.quantizer.tensors, _ANY_RANGE), **ranges})
    assignments = [
        [INT8] * len(units),
        [INT8 if i % 2 else FP32 for i in range(len(units))],
        [FP32 if i % 2 else INT8 for i in range(len(units))],
    ]
    if any(INT8_DYNAMIC in u.options for u in units):
        assignments.append([INT8_DYNAMIC if INT8_DYNAMIC in u.options else FP32 for u in units])
    for precisions in assignments:
        config = QuantizeConfig().with_precisions({u.name: p for u, p in zip(units, precisions, strict=True)})
        yield builder.build(FrozenRecipe(Recipe(config), builder.fingerprint, runtime, payload))
