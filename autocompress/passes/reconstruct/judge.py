"""How far the outputs of models are from the teacher's, as the runtime computes them, on held-out samples."""

from __future__ import annotations

import torch
from onnx import ModelProto

from autocompress.passes.decompose.patches import Load
from autocompress.passes.recover.config import RecoverConfig
from autocompress.passes.recover.losses import output_loss
from autocompress.passes.recover.samples import Samples

_LOOKED_AT = 8  # batches of one sample from which losses are chosen


class HeldOutJudge:
    """Compares models with the teacher by the loss that outputs are trained with.

    Args:
        teacher: the original.
        samples: of which the part that a training with ``config`` holds out is used.
        config: of the training.
        load: loads a model into a runtime.
    """

    def __init__(self, teacher: ModelProto, samples: Samples, config: RecoverConfig, load: Load) -> None:
        _, positions = samples.split(config.held_out, config.seed)
        self._batches = list(samples.in_order(positions, config.batch_size))
        self._load = load
        self._wanted = self._outputs(teacher)
        first = {name: values for name, values in self._looked_at().items() if values.is_floating_point()}
        self._losses = {
            name: output_loss(values, config.output_loss, config.temperature, 1.0 / len(first))
            for name, values in first.items()
        }

    def loss(self, model: ModelProto) -> float:
        """Mean loss over the held-out samples."""
        total, count = 0.0, 0
        for batch, own, wanted in zip(self._batches, self._outputs(model), self._wanted, strict=True):
            size = len(batch.positions)
            total += size * sum(float(loss(own[name], wanted[name])) for name, loss in self._losses.items())
            count += size
        return total / count

    def _looked_at(self) -> dict[str, torch.Tensor]:
        """What the teacher gives on the first batch, or on several where a batch is a single sample."""
        count = _LOOKED_AT if len(self._batches[0].positions) == 1 else 1
        parts = self._wanted[:count]
        first = parts[0].items()
        same = all(value.dim() and part[name].shape == value.shape for part in parts for name, value in first)
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]} if same else dict(parts[0])

    def _outputs(self, model: ModelProto) -> list[dict[str, torch.Tensor]]:
        session = self._load(model)
        return [
            {name: torch.as_tensor(values) for name, values in session.run(batch.feeds).items()}
            for batch in self._batches
        ]
