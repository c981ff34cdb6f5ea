"""What a float model loses, and what its quantized form looks like, before anything is learnt about it."""

from __future__ import annotations

import onnx

from autocompress.errors import CandidateFailed
from autocompress.evaluate.damage import measure_damage
from autocompress.graph.model import model_bytes
from autocompress.passes.quantize import QuantizeConfig
from autocompress.recipe.any_ranges import any_ranges
from autocompress.recipe.builder import CandidateBuilder
from autocompress.recipe.recipe import FrozenRecipe, Recipe
from autocompress.runtimes.protocol import ExecutedOp
from autocompress.search.stems.precisions import fitted
from autocompress.search.workbench import Workbench


def quantized(tools: Workbench, model: onnx.ModelProto, config: QuantizeConfig) -> bytes:
    """A float model quantized with ranges that nobody measured: good for its operators and its size."""
    builder = CandidateBuilder(model, tools.spec.runtime, "")
    frozen = FrozenRecipe(
        Recipe(fitted(config, builder.quantizer.units)), "", tools.spec.runtime, {"quantize": any_ranges(builder)}
    )
    return model_bytes(builder.build(frozen))


def executed(tools: Workbench, serialized: bytes) -> tuple[ExecutedOp, ...]:
    """A model as the runtime executes it.

    Raises:
        RuntimeFailure: when the runtime refuses it.
    """
    threads = tools.spec.priced_threads
    return tuple(tools.runtime.executed_ops(serialized, tools.timing_feeds, threads=threads, standalone=False))


def float_damage(tools: Workbench, model: onnx.ModelProto, samples: int) -> float:
    """Damage of a float model at the output, against the original; inf where it gives no finite numbers.

    Args:
        tools: of this process.
        model: the model.
        samples: of the search part.

    Raises:
        RuntimeFailure: when the runtime fails to run it.
    """
    session = tools.load(model_bytes(model))
    try:
        return measure_damage(session, tools.source, tools.spec.split.search[:samples], tools.reference).value
    except CandidateFailed:
        return float("inf")
