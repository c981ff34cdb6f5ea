"""Reconstructs the weights of a quantized model: from samples to integers and biases."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto

from autocompress.calibration.scheme import dequantize
from autocompress.errors import DataError
from autocompress.graph.index import GraphIndex
from autocompress.passes.quantize import FP32, INT8, INTEGER_WEIGHTS, QuantizeConfig, QuantizePayload, Quantizer, Unit
from autocompress.passes.quantize.activations import bias_add
from autocompress.passes.quantize.weights import QuantizedWeight, channel_axis
from autocompress.passes.reconstruct.activation import activation_behind
from autocompress.passes.reconstruct.blocks import find_blocks
from autocompress.passes.reconstruct.config import BLOCK, ReconstructConfig
from autocompress.passes.reconstruct.layer import LAYERS, FloatArray, RowReader
from autocompress.passes.reconstruct.layerwise import Layer, LayerwiseReconstruction
from autocompress.passes.reconstruct.lesson import Lesson
from autocompress.passes.reconstruct.payload import ReconstructPayload
from autocompress.passes.reconstruct.segments import Batches, SegmentRunner
from autocompress.passes.reconstruct.simulation import SimulatedLayer, simulate
from autocompress.passes.reconstruct.watch import Watch
from autocompress.progress import NullProgress, Progress

MAX_KEPT_BYTES = 256 << 20


def resolve(
    model: ModelProto,
    quantizer: Quantizer,
    quantize: QuantizeConfig,
    payload: QuantizePayload,
    config: ReconstructConfig,
    batches: Batches,
    *,
    progress: Progress | None = None,
    deadline_s: float | None = None,
    threads: int = 1,
    max_kept_bytes: int = MAX_KEPT_BYTES,
    lesson: Lesson | None = None,
) -> ReconstructPayload:
    """Rounds the weights of every Conv, Gemm and MatMul that the quantization step stores in integers, or trains them.

    Args:
        model: the float model that ``quantizer`` was made for.
        quantizer: of that model.
        quantize: configuration of the quantization step.
        payload: of the quantization step.
        config: method and its settings.
        batches: starts a pass over unlabelled samples, input name -> array with the samples along its first axis.
        progress: is told about layers done and time left.
        deadline_s: seconds to stay within; layers that they do not reach keep their nearest integers; training ends.
        threads: of the runtime while it computes activations.
        max_kept_bytes: of activations of each of the two models that are kept between layers.
        lesson: what "distill" trains with; the float model and ``batches`` unless given.

    Returns:
        Integers, biases and errors of the layers that were reconstructed.

    Raises:
        DataError: when there are no samples.
        RecipeError: when the payload does not fit the configuration.
    """
    if config.training is not None:
        from autocompress.passes.reconstruct.distill import distilled  # torch takes seconds to import

        learnt = distilled(
            quantizer.emit(quantize, payload),
            model,
            lesson or Lesson(model, batches),
            config.training,
            quantizer.rigid_results,
            progress or NullProgress(),
            deadline_s,
        )
        return ReconstructPayload(trained=learnt)
    precisions = quantizer.precisions(quantize)
    index = GraphIndex(model)
    weights = {
        unit.name: quantizer.quantized_weight(unit, quantize)
        for unit in quantizer.units
        if precisions[unit.name] in INTEGER_WEIGHTS and _fits(unit, index)
    }
    # How the emitted model stores its weights does not matter, because the simulation puts its own in their place.
    static = {name: precision if precision == INT8 else FP32 for name, precision in precisions.items()}
    plain = replace(quantize.with_precisions(static), weight_dtype="int8", weight_granularity="per_channel")
    return resolve_weights(
        model,
        quantizer.emit(plain, payload),
        [unit for unit in quantizer.units if unit.name in weights],
        weights,
        payload.biases,
        {name for name in weights if precisions[name] == INT8},
        config,
        batches,
        Watch(progress, deadline_s),
        threads=threads,
        max_kept_bytes=max_kept_bytes,
    )


def resolve_weights(
    model: ModelProto,
    emitted: ModelProto,
    units: Sequence[Unit],
    weights: Mapping[str, QuantizedWeight],
    corrected: Mapping[str, FloatArray],
    static: Collection[str],
    config: ReconstructConfig,
    batches: Batches,
    watch: Watch,
    *,
    threads: int = 1,
    max_kept_bytes: int = MAX_KEPT_BYTES,
) -> ReconstructPayload:
    """``resolve`` for weights on any grid.

    Args:
        model: the float model.
        emitted: the same with Q/DQ pairs at its activations; only they matter.
        units: to reconstruct, in graph order.
        weights: unit name -> integer weight.
        corrected: unit name -> bias of the quantization step, where it has one.
        static: names of the units that the quantization step gives a bias of its own.
        config: method and its settings.
        batches: as in ``resolve``.
        watch: time and progress.
        threads: as in ``resolve``.
        max_kept_bytes: as in ``resolve``.

    Raises:
        DataError: when there are no samples.
    """
    index = GraphIndex(model)
    limited = FirstSamples(batches, config.samples)
    biases = {unit.name: _biases(unit, index, corrected) for unit in units}
    simulation, places = simulate(
        emitted,
        {name: _real(weight) for name, weight in weights.items()},
        {name: biases[name][-1] for name in biases if index.nodes[name].op_type != "MatMul" and name in static},
    )
    layers = [_layer(model, unit, index, weights[unit.name], biases[unit.name], places[unit.name]) for unit in units]
    float_model = SegmentRunner(model, limited, max_bytes=max_kept_bytes, threads=threads)
    quantized_model = SegmentRunner(simulation, limited, max_bytes=max_kept_bytes, threads=threads)
    layerwise = LayerwiseReconstruction(float_model, quantized_model, limited.count(), config, watch)
    if config.method != BLOCK:
        return layerwise.run(layers)
    from autocompress.passes.reconstruct.refinement import BlockwiseReconstruction  # torch takes seconds to import

    blocks = find_blocks(model, [layer.unit for layer in layers])
    return BlockwiseReconstruction(float_model, quantized_model, layerwise, config, watch).run(blocks, layers)


def _layer(
    model: ModelProto,
    unit: Unit,
    index: GraphIndex,
    quantized: QuantizedWeight,
    biases: tuple[FloatArray, ...],
    place: SimulatedLayer,
) -> Layer:
    node = index.nodes[unit.name]
    weight = index.weight(str(unit.weight)).astype(np.float32, copy=False)
    reader = RowReader(node, weight.shape[2:] if node.op_type == "Conv" else ())
    bias_node = bias_add(index, node) if node.op_type == "MatMul" else None
    activation = activation_behind(index, (bias_node or node).output[0], model)
    added = _added(bias_node, index, weight) if activation is not None else None
    return Layer(
        unit=unit.name,
        weight_name=str(unit.weight),
        reader=reader,
        weight=weight,
        quantized=quantized,
        biases=biases if added is None else (added,),
        added=added,
        free_bias=place.bias is not None,
        activation=activation,
        simulated=place,
    )


def _added(bias_node: NodeProto | None, index: GraphIndex, weight: FloatArray) -> FloatArray | None:
    """The vector that an Add behind a MatMul adds."""
    if bias_node is None:
        return None
    (name,) = (name for name in bias_node.input if index.is_constant(name))
    return np.broadcast_to(index.weight(name).astype(np.float32, copy=False), weight.shape[-1:]).copy()


def _fits(unit: Unit, index: GraphIndex) -> bool:
    return unit.weight is not None and index.nodes[unit.name].op_type in LAYERS


def _real(quantized: QuantizedWeight) -> FloatArray:
    return dequantize(quantized.values, quantized.scales, quantized.zero_points, quantized.scheme)


def _biases(unit: Unit, index: GraphIndex, corrected: Mapping[str, FloatArray]) -> tuple[FloatArray, ...]:
    """Biases to choose from."""
    if unit.bias is not None:
        own = index.weight(unit.bias).astype(np.float32)
    else:
        node = index.nodes[unit.name]
        own = np.zeros(index.initializers[str(unit.weight)].dims[channel_axis(node)], np.float32)
    return (own, np.asarray(corrected[unit.name], np.float32)) if unit.name in corrected else (own,)


class FirstSamples:
    """Batches of no more than so many samples.

    Args:
        batches: starts a pass over the samples.
        samples: to give at most.
    """

    def __init__(self, batches: Batches, samples: int) -> None:
        self._batches = batches
        self._samples = samples

    def __call__(self) -> Iterator[Mapping[str, npt.NDArray[np.generic]]]:
        """Starts a pass."""
        left = self._samples
        for batch in self._batches():
            count = len(next(iter(batch.values())))
            yield batch if count <= left else {name: values[:left] for name, values in batch.items()}
            left -= count
            if left <= 0:
                return

    def count(self) -> int:
        """How many samples a pass has.

        Raises:
            DataError: when it has none.
        """
        total = sum(len(next(iter(batch.values()))) for batch in self())
        if total == 0:
            raise DataError("reconstruction needs at least one sample; give data")
        return total
