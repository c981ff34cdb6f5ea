"""Distillation of the whole student: outputs, and features on the way, against the teacher's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from autocompress.passes.recover.augmentation import augmented
from autocompress.passes.recover.config import RecoverConfig
from autocompress.passes.recover.features import chosen_features
from autocompress.passes.recover.losses import TensorLoss, feature_loss, output_loss, task_loss
from autocompress.passes.recover.pair import Pair
from autocompress.passes.recover.penalties import group_lasso, l1
from autocompress.passes.recover.samples import Dealt, Samples, Shuffled
from autocompress.passes.recover.training import Problem

_LOOKED_AT = 32  # units from which losses are chosen and variances taken
_COMPARED = 4  # units on which candidates for features are compared; there can be many candidates


class Distillation:
    """The problem of end-to-end distillation.

    Attributes:
        features: inner tensors that are compared.
        losses: tensor name -> loss, outputs first.

    Args:
        pair: student and teacher.
        samples: to train on.
        config: of the recovery.
    """

    def __init__(self, pair: Pair, samples: Samples, config: RecoverConfig) -> None:
        self._pair, self._samples, self._config = pair, samples, config
        self._train, self._held_out = samples.split(config.held_out, config.seed)
        # A unit that is a batch by itself already has as many samples as were given together.
        self._order = Shuffled(self._train, config.batch_size if samples.is_mixable else 1, config.seed)
        looked_at = samples.take(self._train[:_LOOKED_AT])[:8]
        self.features = chosen_features(
            pair.student, pair.teacher, pair.models, samples.take(self._train[:_COMPARED])[0].feeds, config.features
        ) if config.feature_weight or config.features else []  # fmt: skip
        self.losses = self._chosen_losses(looked_at)
        self._weights: list[Any] = []
        self._fast = config.bfloat16 and not pair.student.grids

    def problem(self) -> Problem:
        """What is trained: every learned weight of the student."""
        names = self._pair.names
        parameters = self._pair.parameters(names)
        self._weights = parameters
        return Problem(
            parameters,
            self._pair.rates(names, self._config),
            self.loss,
            self.judge,
            self._pair.masks_of(names),
            {"config": self._config.to_dict(), "weights": list(names), "units": len(self._samples)},
        )

    def loss(self, step: int) -> torch.Tensor:
        """Mean loss of the batch of a step."""
        dealt = self._samples.take(self._order.at(step))
        total = sum((self._of_batch(batch, step) for batch in dealt), torch.zeros(())) / len(dealt)
        if self._config.group_lasso:
            total = total + self._config.group_lasso * group_lasso(self._weights)
        if self._config.l1:
            total = total + self._config.l1 * l1(self._weights)
        return total

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def judge(self) -> float:
        """Mean distillation loss over the held-out samples, as they are."""
        total, count = 0.0, 0
        for batch in self._samples.in_order(self._held_out, 2 * self._config.batch_size):
            size = len(batch.positions)
            total += size * float(self._compared(batch.feeds, None, fast=False))
            count += size
        return total / count

    def _of_batch(self, batch: Dealt, step: int) -> torch.Tensor:
        seed = (self._config.seed, step, 1)
        use_labels = batch.labels is not None and self._config.label_weight > 0
        # Labels belong to the images as they are, so labelled batches are not mixed.
        feeds = augmented(batch.feeds, seed) if self._config.augment and not use_labels else batch.feeds
        return self._compared(feeds, batch.labels if use_labels else None, self._fast)

    def _compared(self, feeds: Mapping[str, Any], labels: Any, fast: bool) -> torch.Tensor:
        names = list(self.losses)
        with torch.autocast("cpu", torch.bfloat16, enabled=fast):
            with torch.no_grad():
                wanted = self._pair.teacher.run(feeds, names)
            own = self._pair.student.run(feeds, names)
        parts = [loss(own[name].float(), wanted[name].float()) for name, loss in self.losses.items()]
        if labels is not None:
            parts.append(self._config.label_weight * task_loss(own[names[0]].float(), np.asarray(labels)))
        return torch.stack(parts).sum()

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def _chosen_losses(self, looked_at: Sequence[Dealt]) -> dict[str, TensorLoss]:
        config, outputs = self._config, self._pair.student.outputs
        names = [*outputs, *self.features]
        parts = [self._pair.teacher.run(batch.feeds, names) for batch in looked_at]
        values = {name: _joined([part[name] for part in parts]) for name in names}
        floats = [name for name in outputs if values[name].is_floating_point()]
        losses = {n: output_loss(values[n], config.output_loss, config.temperature, 1.0 / len(floats)) for n in floats}
        share = config.feature_weight / max(1, len(self.features))
        losses.update({name: feature_loss(values[name], share) for name in self.features})
        return losses


def _joined(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Values of several batches together, where their shapes allow it; else those of the first."""
    if len(parts) > 1 and parts[0].dim() and len({part.shape[1:] for part in parts}) == 1:
        return torch.cat(list(parts))
    return parts[0]
