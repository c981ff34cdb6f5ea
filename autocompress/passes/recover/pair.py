"""Student and teacher side by side, with what is trained in the student."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from onnx import ModelProto

from autocompress.errors import RecipeError
from autocompress.graph.specs import input_specs
from autocompress.graph.torch_execution.torch_graph import TorchGraph
from autocompress.passes.recover.config import RecoverConfig
from autocompress.passes.recover.linear_layer import linear_layers
from autocompress.passes.recover.quantized import adopt_real_weights, quantized_zeros
from autocompress.passes.recover.trainable import kept_zeros, learned_weights, step_sizes
from autocompress.passes.recover.twins import twin_channels
from autocompress.passes.recover.weight_scales import weight_scales


class Pair:
    """A student graph beside its frozen teacher.

    Attributes:
        student: the compressed model.
        teacher: the original.
        models: both as ONNX, student first.
        names: weights that are trained, in graph order.
        steps: those of them that are step sizes of quantization.
        masks: weight name -> tensor of ones and zeros that it keeps to.
        twins: output of a layer -> channels of the teacher that it computes (see ``twin_channels``).

    Args:
        student: compressed model.
        teacher: original model, with inputs and outputs of the same names.
        config: of the recovery.
        floats: the float model that a quantized student was rounded from; the teacher unless given.
        fixed: step sizes that stay as they are.

    Raises:
        RecipeError: the two models have different inputs or outputs, or the student has nothing to train.
    """

    def __init__(
        self,
        student: ModelProto,
        teacher: ModelProto,
        config: RecoverConfig,
        floats: ModelProto | None = None,
        fixed: Collection[str] = (),
    ) -> None:
        self.models = (student, teacher)
        self.specs = input_specs(student)
        self.student, self.teacher = TorchGraph(student), TorchGraph(teacher)
        for kind in ("inputs", "outputs"):
            own, wanted = getattr(self.student, kind), getattr(self.teacher, kind)
            if set(own) != set(wanted):
                raise RecipeError(
                    f"recover step: the compressed model has {kind} {', '.join(own)} and the original "
                    f"{', '.join(wanted)}; give the model that was compressed as the teacher"
                )
        origin = teacher if floats is None else floats
        adopt_real_weights(self.student, self.teacher if floats is None else TorchGraph(floats), (student, origin))
        self.teacher.trainable([])
        self.twins = twin_channels(linear_layers(student, self.student), teacher, self.teacher.weights)
        known = set(self.student.weights)
        self.steps = [name for name in step_sizes(student) if name in known and name not in fixed]
        self.names = [*(name for name in learned_weights(student) if name in known), *self.steps]
        if not self.names:
            raise RecipeError("recover step: the model has no weights to train; leave the step out")
        zeros = kept_zeros(student, self.names) if config.keep_zeros else {}
        if config.keep_zeros:
            zeros.update(quantized_zeros(self.student, (student, origin)))
        self.masks = {name: torch.from_numpy(mask).to(torch.float32) for name, mask in zeros.items()}

    def parameters(self, names: Sequence[str]) -> list[Any]:
        """Parameters of the student by name, which now require gradients; all others do not."""
        self.student.trainable(names)
        weights = self.student.weights
        return [weights[name] for name in names]

    def scales(self, names: Sequence[str], config: RecoverConfig) -> list[torch.Tensor]:
        """How far the elements of each weight move in a step at a learning rate of 1."""
        weights = self.student.weights
        sizes = weight_scales(self.models[0], self.student, names)
        for name in set(self.steps).intersection(names):
            sizes[name] = config.step_size_rate * weights[name].detach().abs().mean()
        return [sizes[name] for name in names]

    def masks_of(self, names: Sequence[str]) -> dict[int, torch.Tensor]:
        """Position in ``names`` -> mask, where there is one."""
        return {position: self.masks[name] for position, name in enumerate(names) if name in self.masks}
