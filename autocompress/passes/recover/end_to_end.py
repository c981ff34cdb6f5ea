"""Distillation of the whole student: outputs, and features on the way, against the teacher's."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from autocompress.errors import RecipeError
from autocompress.graph.torch_execution.weights import Array
from autocompress.passes.recover.augmentation import augmented
from autocompress.passes.recover.bfloat16 import has_fast_bfloat16
from autocompress.passes.recover.config import RecoverConfig
from autocompress.passes.recover.features import chosen_features
from autocompress.passes.recover.losses import TensorLoss, feature_loss, output_loss, task_loss
from autocompress.passes.recover.pair import Pair
from autocompress.passes.recover.penalties import group_lasso, l1
from autocompress.passes.recover.samples import Dealt, Samples, Shuffled
from autocompress.passes.recover.saved_memory import samples_at_once, saved_bytes
from autocompress.passes.recover.training import Problem

_LOOKED_AT = 16  # units from which losses are chosen
_MEASURED = 8  # units on which losses and the variances of features are measured; features are large
_COMPARED = 4  # units that are run together for that, and on which candidates for features are compared
_MOST_GIVEN = 8  # units in a step where each is a batch by itself
_MOST_JUDGED = 128  # held-out units that are judged
_MOST_PLACES = 2**15  # of results that are images, in a step: each place is a sample of its own there
_LEAST_SHARE = 1e-12  # of a class, so that its logarithm is finite
_SMALL = 1e-4  # a loss that nothing is left to gain from

Losses = Mapping[str, TensorLoss]


class Distillation:
    """The problem of end-to-end distillation.

    Losses of outputs and of features each count as much as they are at the start, so that neither drowns the other:
    what a model that makes images of images still lacks at its output is thousands of times smaller than inside.

    Attributes:
        features: inner tensors that are compared.
        losses: tensor name -> loss, outputs first.

    Args:
        pair: student and teacher.
        samples: to train on.
        config: of the recovery.

    Raises:
        RecipeError: there is nothing to compare.
    """

    def __init__(self, pair: Pair, samples: Samples, config: RecoverConfig) -> None:
        self._pair, self._samples, self._config = pair, samples, config
        self._train, held_out = samples.split(config.held_out, config.seed)
        self._held_out = held_out[:_MOST_JUDGED]
        looked_at = list(samples.in_order(self._train[:_LOOKED_AT], _COMPARED))[:_MOST_GIVEN]
        self.features = self._chosen_features()
        self._fast = config.bfloat16 and not pair.student.grids and has_fast_bfloat16()
        measured = list(samples.in_order(self._train[:_MEASURED], _COMPARED))
        outputs, features = self._output_losses(looked_at), self._feature_losses(measured)
        if not outputs and not features:
            raise RecipeError("recover step: the model gives no real numbers to compare with the original's; leave out")
        self._judged = outputs or features
        self.losses = {
            **self._balanced(outputs, 1.0, measured),
            **self._balanced(features, config.feature_weight, measured),
        }
        results = self._wanted(looked_at[:1], list(outputs))
        self._makes_maps = any(_places(value) > 1 for value in results.values())
        self._size = self._units_per_step(max(map(_places, results.values()), default=1))
        self._order = Shuffled(self._train, self._size, config.seed)
        self._weights: list[Any] = []
        self._at_once = 1

    def problem(self) -> Problem:
        """What is trained: every learned weight of the student."""
        names = self._pair.names
        parameters = self._pair.parameters(names)
        self._weights = parameters
        self._at_once = samples_at_once(self._saved_bytes, min(self._size, len(self._train)))
        return Problem(
            parameters,
            self._pair.scales(names, self._config),
            self.learn,
            self.judge,
            self._pair.masks_of(names),
            {"config": self._config.to_dict(), "weights": list(names), "units": len(self._samples)},
        )

    def learn(self, step: int) -> float:
        """Mean loss of the batch of a step; its gradients are added to those of the weights."""
        dealt = self._samples.take(self._order.at(step))
        total = 0.0
        for position, batch in enumerate(dealt):
            for feeds, labels, share in self._portions(batch, (step, position)):
                loss = self._compared(feeds, self.losses, self._fast, labels) * (share / len(dealt))
                loss.backward()
                total += float(loss.detach())
        return total + self._learn_penalties()

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def judge(self) -> float:
        """Mean loss of the outputs over the held-out samples, as they are.

        The task loss counts too: a student that follows labels away from the teacher would seem to lose ground.
        """
        total, count = 0.0, 0
        for batch in self._samples.in_order(self._held_out, self._at_once):
            size = len(batch.positions)
            total += size * float(self._compared(batch.feeds, self._judged, False, self._labels(batch)))
            count += size
        return total / count

    def _chosen_features(self) -> list[str]:
        config, pair = self._config, self._pair
        if not config.feature_weight and not config.features:
            return []
        feeds = self._samples.take(self._train[:_COMPARED])[0].feeds
        return chosen_features(pair.student, pair.teacher, pair.models, feeds, config.features, pair.twins)

    def _units_per_step(self, places: int) -> int:
        """As many as the configuration says; fewer of images that are compared place by place."""
        if self._samples.is_mixable:
            return max(1, min(self._config.batch_size, _MOST_PLACES // places))
        given = self._samples.take(self._train[:1])[0].feeds
        together = max((len(array) for array in given.values() if array.ndim), default=1)
        return max(1, min(self._config.batch_size // together, _MOST_GIVEN))

    def _portions(self, batch: Dealt, place: tuple[int, int]) -> Iterator[tuple[dict[str, Array], Any, float]]:
        """Inputs and labels of as many samples as memory allows at once, with their share of the batch."""
        config = self._config
        labels = self._labels(batch)
        # Mixed images have no label, so only every other batch is mixed where there are labels.
        mix = labels is None or place[0] % 2 == 1
        feeds = batch.feeds
        if config.augment:
            feeds = augmented(feeds, (config.seed, *place, 1), to_maps=self._makes_maps, mix=mix)
            labels = None if mix else labels
        if not self._samples.is_mixable:
            yield feeds, labels, 1.0
            return
        size = len(batch.positions)
        for part in np.array_split(np.arange(size), -(-size // self._at_once)):
            chosen = slice(int(part[0]), int(part[-1]) + 1)
            share = len(part) / size
            yield {k: v[chosen] for k, v in feeds.items()}, None if labels is None else labels[chosen], share

    def _labels(self, batch: Dealt) -> Any:
        return batch.labels if self._config.label_weight > 0 else None

    def _scores(self, own: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Scores of classes whose softmax are the student's probabilities."""
        name = self._pair.student.outputs[0]
        loss, values = self.losses.get(name), own[name].float()
        return values.clamp_min(_LEAST_SHARE).log() if loss is not None and loss.kind == "probabilities" else values

    def _learn_penalties(self) -> float:
        config, total = self._config, torch.zeros(())
        if config.group_lasso:
            total = total + config.group_lasso * group_lasso(self._weights)
        if config.l1:
            total = total + config.l1 * l1(self._weights)
        if total.requires_grad:
            total.backward()
        return float(total.detach())

    def _compared(self, feeds: Mapping[str, Any], losses: Losses, fast: bool, labels: Any = None) -> torch.Tensor:
        names = list(losses)
        feeds = {name: _laid_out(array) for name, array in feeds.items()}
        with torch.autocast("cpu", torch.bfloat16, enabled=fast):
            with torch.no_grad():
                wanted = self._pair.teacher.run(feeds, names)
            own = self._pair.student.run(feeds, names)
        parts = [loss(own[name].float(), wanted[name].float()) for name, loss in losses.items()]
        if labels is not None:
            parts.append(self._config.label_weight * task_loss(self._scores(own), np.asarray(labels)))
        return torch.stack(parts).sum()

    def _saved_bytes(self, samples: int) -> int:
        """What a training step on so many samples keeps for its backward pass."""
        feeds = self._samples.take(self._train[:samples])[0].feeds
        return saved_bytes(lambda: self._compared(feeds, self.losses, self._fast))

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def _output_losses(self, looked_at: Sequence[Dealt]) -> Losses:
        outputs = self._pair.student.outputs
        values = {name: value for name, value in self._wanted(looked_at, outputs).items() if value.is_floating_point()}
        choice, temperature = self._config.output_loss, self._config.temperature
        return {name: output_loss(value, choice, temperature, 1.0 / len(values)) for name, value in values.items()}

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def _feature_losses(self, looked_at: Sequence[Dealt]) -> Losses:
        outputs, twins = set(self._pair.student.outputs), self._pair.twins
        values = self._wanted(looked_at, [name for name in self.features if name not in outputs])
        return {name: feature_loss(value, 1.0, twins.get(name)) for name, value in values.items()}

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def _balanced(self, losses: Losses, weight: float, looked_at: Sequence[Dealt]) -> Losses:
        """Losses that come to ``weight`` together as the student is now."""
        if not losses:
            return {}
        sizes = [len(batch.positions) for batch in looked_at]
        parts = [float(self._compared(batch.feeds, losses, False)) for batch in looked_at]
        now = float(np.average(parts, weights=sizes))
        factor = weight / max(now, _SMALL) if math.isfinite(now) else weight
        return {name: replace(loss, weight=loss.weight * factor) for name, loss in losses.items()}

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def _wanted(self, looked_at: Sequence[Dealt], names: Sequence[str]) -> dict[str, torch.Tensor]:
        """What the teacher gives, of several batches together where shapes allow it."""
        parts = [self._pair.teacher.run(batch.feeds, names) for batch in looked_at]
        return {name: _joined([part[name] for part in parts]) for name in names}


def _laid_out(array: Any) -> torch.Tensor:
    """A tensor with channels innermost where it is an image: convolutions are up to a third faster so."""
    tensor = torch.as_tensor(array)
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor


def _places(value: torch.Tensor) -> int:
    """Places of an image that a result has values for; 1 where it is no image."""
    return int(value.shape[2] * value.shape[3]) if value.dim() == 4 else 1


def _joined(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Values of several batches together, where their shapes allow it; else those of the first."""
    if len(parts) > 1 and parts[0].dim() and len({part.shape[1:] for part in parts}) == 1:
        return torch.cat(list(parts))
    return parts[0]
