"""Rounds the weights of a model layer by layer, each on what the layers already rounded feed to it.

Targets are the outputs of the float model (asymmetric reconstruction, AdaRound section 3.3).  Of what a method finds
and of rounding to nearest, each with every bias at hand, the pair with the least error is kept: no layer is worse
than before.

The method "bias" keeps the nearest integers: each layer gets the bias that suits what really reaches it, which is
empirical bias correction (Nagel et al., ICCV 2019, appendix D), with the error taken behind the activation.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from autocompress.calibration.scheme import dequantize
from autocompress.passes.quantize.weights import QuantizedWeight
from autocompress.passes.reconstruct.activation import Clipping, Piece
from autocompress.passes.reconstruct.config import BIAS, GPTQ, ReconstructConfig
from autocompress.passes.reconstruct.gptq import gptq
from autocompress.passes.reconstruct.grid import WeightGrid
from autocompress.passes.reconstruct.layer import FloatArray, RowReader, drawn_rows, to_matrices
from autocompress.passes.reconstruct.moments import MomentObjective
from autocompress.passes.reconstruct.payload import LayerError, ReconstructPayload
from autocompress.passes.reconstruct.rows import RowObjective
from autocompress.passes.reconstruct.segments import SegmentRunner
from autocompress.passes.reconstruct.simulation import SimulatedLayer
from autocompress.passes.reconstruct.watch import Watch

Objective = MomentObjective | RowObjective

_STAGE = "reconstruct layers"
_MAX_ROW_BYTES = 256 << 20
_MAX_MOMENT_SIZE = 4096


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer to reconstruct.

    Attributes:
        unit: name of its unit and of its node.
        weight_name: name of its float weight.
        reader: reads its rows; holds the node of the float model.
        weight: float weight.
        quantized: the same in integers.
        biases: biases to choose from, float32 of shape (output channels,): that of the model (zeros where it has none)
            and, where there is one, the corrected one of the quantization step.
        added: constant of shape (output channels,) that is added between the layer and the activation, or None; then it
            is the first of the biases.
        free_bias: whether the layer may get another bias.
        activation: behind it; None without one that is a function of one number.
        simulated: where it is in the simulation.
    """

    unit: str
    weight_name: str
    reader: RowReader
    weight: FloatArray
    quantized: QuantizedWeight
    biases: tuple[FloatArray, ...]
    added: FloatArray | None
    free_bias: bool
    activation: Clipping | Piece | None
    simulated: SimulatedLayer

    @property
    def work(self) -> float:
        """Roughly how long it takes compared with others: its weights, and something that every layer takes."""
        return self.weight.size + 20000.0


class LayerwiseReconstruction:
    """Goes through the layers in graph order.

    Args:
        float_model: runs the model before quantization.
        quantized_model: runs the simulation, whose weights are replaced on the way.
        samples: how many there are in all batches.
        config: method and its settings.
        watch: time and progress.
    """

    def __init__(
        self,
        float_model: SegmentRunner,
        quantized_model: SegmentRunner,
        samples: int,
        config: ReconstructConfig,
        watch: Watch,
    ) -> None:
        self._float = float_model
        self._quantized = quantized_model
        self._samples = samples
        self._config = config
        self._watch = watch
        self._generator = np.random.default_rng(config.seed)
        self._payload = ReconstructPayload()

    @property
    def payload(self) -> ReconstructPayload:
        """What has been found so far; changes with every layer."""
        return self._payload

    def run(self, layers: Sequence[Layer]) -> ReconstructPayload:
        """Rounds every layer, or those that the time allows; the others keep what the quantization step chose.

        Args:
            layers: in graph order.
        """
        self._watch.begin(_STAGE, len(layers), sum(layer.work for layer in layers))
        for layer in layers:
            seconds = self._watch.share(layer.work)
            if seconds <= 0.0:
                break
            error = self.reconstruct(layer, seconds)
            self._watch.layer_done(layer.unit, error, layer.work)
        return self._payload

    def reconstruct(self, layer: Layer, seconds: float) -> LayerError:
        """Rounds one layer, which must not stand before those done already; about ``seconds`` at most."""
        error = self._reconstructed(layer, seconds)
        self._payload.errors[layer.unit] = error
        return error

    def _reconstructed(self, layer: Layer, seconds: float) -> LayerError:
        started = time.monotonic()
        grid = WeightGrid.of(layer.reader.node, layer.weight, layer.quantized)
        objective, judge = self._observed(layer, grid)
        left = seconds - (time.monotonic() - started)
        nearest = self._best_bias(layer, grid, judge, grid.nearest)
        if self._config.method == BIAS:
            self._keep(layer, grid, grid.nearest, nearest[1])
            return LayerError(judge.error(grid.real(grid.nearest), judge.bias), nearest[0])
        found = self._best_bias(layer, grid, judge, self._integers(layer, grid, objective, left))
        # A weight that another layer has rounded stays as it is there.
        chosen = found if found[0] < nearest[0] or layer.weight_name in self._payload.integers else nearest
        error, bias, integers = chosen
        self._keep(layer, grid, integers, bias)
        return LayerError(nearest[0], error)

    def _integers(self, layer: Layer, grid: WeightGrid, objective: Objective, seconds: float) -> FloatArray:
        known = self._payload.integers.get(layer.weight_name)
        if known is not None:
            return to_matrices(layer.reader.node, known).astype(np.float32)
        if seconds <= 0.0:
            return grid.nearest
        if isinstance(objective, MomentObjective) and self._config.method == GPTQ:
            return gptq(grid, objective, damping=self._config.damping, act_order=self._config.act_order)
        from autocompress.passes.reconstruct.adaround import adaround  # torch takes seconds to import

        bias = objective.fitted_bias(grid.weight) if self._config.bias and layer.free_bias else objective.bias
        return adaround(grid, objective, bias, self._config, seconds=seconds)

    def _observed(self, layer: Layer, grid: WeightGrid) -> tuple[Objective, Objective]:
        """(what integers are found by, what they are judged by), after all batches have been seen."""
        objective, judge = self._objectives(layer, grid)
        groups, outputs, size = grid.weight.shape
        kept = min(self._config.max_rows, _MAX_ROW_BYTES // (4 * groups * (outputs + size)) + 1)
        wanted = kept if isinstance(objective, RowObjective) else 2 * self._config.max_rows
        reader, bounded = layer.reader, bool(layer.reader.kernel) or isinstance(judge, RowObjective)
        inputs = self._quantized.input_of(reader.node.name)
        results = self._float.output_of(reader.node.name)
        for source, output in zip(inputs, results, strict=True):
            share = -(-wanted * len(output) // self._samples) if bounded else wanted
            rows = drawn_rows(reader.rows_in(output), max(share, 1), self._generator)
            given, found = reader.read(np.asarray(source, np.float32), np.asarray(output, np.float32), rows)
            if layer.added is not None:
                found = found + layer.added
            objective.update(given, found)
            if judge is not objective:
                few = -(-kept * len(output) // self._samples)
                stride = -(-len(rows) // few)
                judge.update(given[:, ::stride], found[:, ::stride])
        if isinstance(judge, RowObjective):
            judge.finish(self._generator)
        return objective, judge

    def _objectives(self, layer: Layer, grid: WeightGrid) -> tuple[Objective, Objective]:
        bias = layer.biases[0].reshape(grid.weight.shape[:2])
        free = self._config.bias and layer.free_bias
        if self._config.method != GPTQ and (layer.activation is not None or grid.weight.shape[2] > _MAX_MOMENT_SIZE):
            rows = RowObjective(grid.weight, bias, layer.activation or Clipping())
            return rows, rows
        moments = MomentObjective(grid.weight, bias, free_bias=free)
        # GPTQ knows squares only; behind an activation that bends, they may be far from what matters.
        if isinstance(layer.activation, Piece):
            return moments, RowObjective(grid.weight, bias, layer.activation)
        return moments, moments

    def _best_bias(
        self, layer: Layer, grid: WeightGrid, objective: Objective, integers: FloatArray
    ) -> tuple[float, FloatArray, FloatArray]:
        """(error, bias, integers) with the bias that suits the integers best."""
        real = grid.real(integers)
        biases = [bias.reshape(objective.bias.shape) for bias in layer.biases]
        if self._config.bias and layer.free_bias:
            biases.append(objective.fitted_bias(real))
        errors = [objective.error(real, bias) for bias in biases]
        best = int(np.argmin(errors))
        return errors[best], biases[best], integers

    def _keep(self, layer: Layer, grid: WeightGrid, integers: FloatArray, bias: FloatArray) -> None:
        stored = grid.stored(layer.reader.node, integers, layer.quantized)
        self._payload.integers.setdefault(layer.weight_name, stored)
        if layer.simulated.bias is not None:
            self._payload.biases[layer.unit] = bias.reshape(-1)
        put_in_place(self._quantized, layer, self._payload)


def put_in_place(quantized_model: SegmentRunner, layer: Layer, payload: ReconstructPayload) -> None:
    """Gives a layer of the simulation the weight and bias that were found for it, if any."""
    if layer.weight_name in payload.integers:
        quantized_model.replace(layer.simulated.weight, dequantized(layer, payload.integers[layer.weight_name]))
    if layer.simulated.bias is not None and layer.unit in payload.biases:
        quantized_model.replace(layer.simulated.bias, payload.biases[layer.unit])


def dequantized(layer: Layer, integers: npt.NDArray[np.generic]) -> FloatArray:
    """The weight that integers stand for."""
    quantized = layer.quantized
    return dequantize(integers, quantized.scales, quantized.zero_points, quantized.scheme)
