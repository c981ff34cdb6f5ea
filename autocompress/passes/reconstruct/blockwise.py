"""Block reconstruction: the weights of a block are rounded together, for the sake of the block's output.

Rounding variables are those of AdaRound, but weights are rounded in every forward pass and the gradient goes straight
through (as in Cheng et al., "SignRound", 2023): a block starts from a good rounding, and few weights have to change
their minds.  The error is that of the block's output, with gradients through activation
quantization (Li et al., "BRECQ", ICLR 2021), while a random part of the activations stays in floating point, which
keeps the rounding from fitting itself to the noise of the calibration data (Wei et al., "QDrop", ICLR 2022).

Of what is met on the way, the rounding with the least error over all samples is kept; at worst that is the one which
layer-by-layer reconstruction found.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from onnx import ModelProto

from autocompress.calibration.scheme import spread
from autocompress.graph.torch_execution.torch_graph import TorchGraph
from autocompress.passes.reconstruct.adaround import HELD, STRETCH
from autocompress.passes.reconstruct.config import ReconstructConfig
from autocompress.passes.reconstruct.layer import FloatArray
from autocompress.passes.reconstruct.layerwise import Layer, dequantized
from autocompress.runtimes.protocol import Array

# Blocks start close to where they end: over all steps, a variable moves by no more than half of so many learning rates
# (half, because the rate falls to 0).
_REACH = 80.0
_BIAS_REACH = 1.0
_ROWS_PER_SAMPLE = 64
_MEASURED_STEPS = 5
_FEWEST_STEPS = 20
_CHECKS = 8
Tensors = dict[str, torch.Tensor]
_Best = tuple[float, list[torch.Tensor]]


@dataclass(frozen=True, eq=False)
class BlockSample:
    """One batch of samples of a block.

    Attributes:
        inputs: what the quantized model so far feeds to the block, by name.
        clean: what the float model feeds in place of some of them.
        target: what the float model makes of it.
    """

    inputs: dict[str, Array]
    clean: dict[str, Array]
    target: Array


class BlockRounding:
    """The rounding variables and biases of the layers of one block.

    Args:
        piece: the block cut out of the simulation, with Q/DQ pairs and real weights.
        result: its output.
        layers: in it.
        integers: weight name -> integers to start from.
        biases: unit -> bias to start from.
        config: steps, learning rate, share of dropped quantization.

    Raises:
        ModelError: when an operator of the block cannot be run in torch.
    """

    def __init__(
        self,
        piece: ModelProto,
        result: str,
        layers: Sequence[Layer],
        integers: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]],
        biases: dict[str, FloatArray],
        config: ReconstructConfig,
    ) -> None:
        self._graph = TorchGraph(piece).requires_grad_(False)
        self._pairs = _rounded_activations(piece)
        self._result = result
        self._start = {layer.simulated.weight: dequantized(layer, integers[layer.weight_name]) for layer in layers}
        self._config = config
        self._generator = torch.Generator().manual_seed(config.seed)
        self._weights = {layer.unit: _SoftWeight(layer, integers[layer.weight_name]) for layer in layers}
        self._layers = list(layers)
        self._biases = {unit: torch.tensor(bias) for unit, bias in biases.items()}
        self._shifts = {unit: torch.zeros_like(bias, requires_grad=True) for unit, bias in self._biases.items()}

    def start_error(self, samples: Sequence[BlockSample]) -> float:
        """Relative mean square error of the block's output with the integers and biases that it starts from."""
        return self._error(samples, {**_tensors(self._start), **self._stored_biases()})

    def error(self, samples: Sequence[BlockSample]) -> float:
        """The same with those that it has learned."""
        return self._error(samples, self._stored(hard=True))

    def _error(self, samples: Sequence[BlockSample], stored: Tensors) -> float:
        total = power = 0.0
        with torch.no_grad():
            for sample in samples:
                target = torch.from_numpy(sample.target)
                found = self._run({**_tensors(sample.inputs), **stored}, drop=0.0)
                total += float((found - target).square().sum(dtype=torch.float64))
                power += float(target.square().sum(dtype=torch.float64))
        return total / max(power, 1e-30)

    def learn(self, samples: Sequence[BlockSample], start_error: float, seconds: float) -> None:
        """Gradient descent for the configured steps, or as many as the seconds allow."""
        config = self._config
        variables = [weight.variables for weight in self._weights.values()]
        groups = [{"params": variables, "lr": _REACH * config.learning_rate}]
        if config.bias and self._shifts:
            groups.append({"params": list(self._shifts.values()), "lr": _BIAS_REACH * config.learning_rate})
        optimizer = torch.optim.Adam(groups)
        rates = [group["lr"] for group in optimizer.param_groups]
        power = sum(float(np.square(s.target, dtype=np.float64).mean()) for s in samples) / len(samples)
        unit = max(start_error * power, 1e-30)
        best = (start_error, self._state())
        iterations, started = config.iterations, time.monotonic()
        step = 0
        while step < iterations:
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * (1.0 - step / iterations) / iterations
            optimizer.zero_grad(set_to_none=True)
            self._accumulate(samples, unit)
            optimizer.step()
            step += 1
            if step == _MEASURED_STEPS:
                affordable = seconds / max((time.monotonic() - started) / step, 1e-9)
                iterations = int(max(min(iterations, affordable), _FEWEST_STEPS))
            if step % max(iterations // _CHECKS, 1) == 0 or step == iterations:
                best = self._better(samples, *best)
        self._restore(best[1])

    def _accumulate(self, samples: Sequence[BlockSample], unit: float) -> None:
        """Adds up the gradient over batches drawn at random, until enough samples have been seen."""
        wanted = max(self._config.batch_rows // _ROWS_PER_SAMPLE, 1)
        order = torch.randperm(len(samples), generator=self._generator).tolist()
        drawn, seen = list[BlockSample](), 0
        while order and seen < wanted:
            drawn.append(samples[order.pop()])
            seen += len(drawn[-1].target)
        for sample in drawn:
            (self._loss(sample) * (len(sample.target) / (seen * unit))).backward()

    def integers(self) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]]:
        """Weight name -> integers."""
        return {layer.weight_name: self._weights[layer.unit].integers() for layer in self._layers}

    def biases(self) -> dict[str, FloatArray]:
        """Unit -> bias."""
        return {unit: self._bias(unit).detach().numpy().copy() for unit in self._biases}

    def _better(self, samples: Sequence[BlockSample], error: float, state: list[torch.Tensor]) -> _Best:
        """What is learned now, if its error is less than the least so far."""
        now = self.error(samples)
        return (now, self._state()) if now < error else (error, state)

    def _state(self) -> list[torch.Tensor]:
        return [variable.detach().clone() for variable in self._variables()]

    def _restore(self, state: list[torch.Tensor]) -> None:
        for variable, value in zip(self._variables(), state, strict=True):
            variable.data.copy_(value)

    def _variables(self) -> list[torch.Tensor]:
        return [*(weight.variables for weight in self._weights.values()), *self._shifts.values()]

    def _loss(self, sample: BlockSample) -> torch.Tensor:
        inputs = _tensors(sample.inputs)
        for name, clean in _tensors(sample.clean).items():
            inputs[name] = self._mixed(clean, inputs[name], self._config.drop_probability)
        found = self._run({**inputs, **self._stored(hard=False)}, drop=self._config.drop_probability)
        return (found - torch.from_numpy(sample.target)).square().mean()

    def _run(self, values: Tensors, drop: float) -> torch.Tensor:
        """The block's output; activations are rounded one after the other, so that parts of each can stay float."""
        for raw, rounded in self._pairs:
            if raw not in values:
                values[raw] = self._graph.run(values, [raw])[raw]
            found = self._graph.run({raw: values[raw]}, [rounded])[rounded]
            values[rounded] = self._mixed(values[raw], found, drop)
        return self._graph.run(values, [self._result])[self._result]

    def _mixed(self, clean: torch.Tensor, rounded: torch.Tensor, drop: float) -> torch.Tensor:
        if drop <= 0.0:
            return rounded
        return torch.where(torch.rand(clean.shape, generator=self._generator) < drop, clean, rounded)

    def _bias(self, unit: str) -> torch.Tensor:
        bias = self._biases[unit]
        return bias + self._shifts[unit] * bias.square().mean().sqrt()

    def _stored(self, *, hard: bool) -> Tensors:
        """Weights and biases under their names in the simulation."""
        values = self._stored_biases()
        for layer in self._layers:
            weight = self._weights[layer.unit]
            decided = weight.decided()
            if not hard:  # rounded in the forward pass, soft in the backward pass
                up = weight.up()
                decided = decided + (up - up.detach())
            values[layer.simulated.weight] = weight.real(decided)
        return values

    def _stored_biases(self) -> Tensors:
        places = {layer.unit: layer.simulated.bias for layer in self._layers}
        return {str(places[unit]): self._bias(unit) for unit in self._biases}


class _SoftWeight:
    """One weight whose integers are still open (see ``adaround``)."""

    def __init__(self, layer: Layer, start: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> None:
        quantized, shape = layer.quantized, layer.weight.shape
        scheme = quantized.scheme
        self._dtype = quantized.values.dtype
        self._scales = torch.tensor(np.broadcast_to(spread(quantized.scales, shape, scheme), shape))
        zeros = spread(np.asarray(quantized.zero_points, np.float32), shape, scheme)
        self._zeros = torch.tensor(np.broadcast_to(zeros, shape))
        self._low, self._high = float(scheme.qmin), float(scheme.qmax)
        steps = torch.tensor(layer.weight) / self._scales + self._zeros
        self._floor = steps.floor()
        # Half way between the fraction and what was decided before: close to it, and free to change.
        decided = (torch.tensor(start.astype(np.float32)) > self._floor).float()
        up = 0.5 * (steps - self._floor) + 0.5 * decided
        variables = -torch.log((1.0 + 2.0 * STRETCH) / (up + STRETCH) - 1.0)
        variables[torch.from_numpy(layer.weight == 0.0)] = HELD
        self.variables = variables.requires_grad_()

    def up(self) -> torch.Tensor:
        """How far each weight is rounded up, between 0 and 1."""
        return (torch.sigmoid(self.variables) * (1.0 + 2.0 * STRETCH) - STRETCH).clamp(0.0, 1.0)

    def decided(self) -> torch.Tensor:
        """0 or 1."""
        return (self.variables.detach() > 0.0).float()

    def real(self, up: torch.Tensor) -> torch.Tensor:
        """The weight."""
        return ((self._floor + up).clamp(self._low, self._high) - self._zeros) * self._scales

    def integers(self) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
        """The weight as the quantization step stores it."""
        found = (self._floor + self.decided()).clamp(self._low, self._high).numpy()
        result: np.ndarray[tuple[int, ...], np.dtype[np.generic]] = found.astype(self._dtype)
        return result


def _rounded_activations(piece: ModelProto) -> list[tuple[str, str]]:
    """(tensor, its rounded form) of every Q/DQ pair, in graph order."""
    quantized = {node.output[0]: node.input[0] for node in piece.graph.node if node.op_type == "QuantizeLinear"}
    return [
        (quantized[node.input[0]], node.output[0])
        for node in piece.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in quantized
    ]


def _tensors(arrays: Mapping[str, Array]) -> Tensors:
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
