"""Whether changes of weights brought the student's outputs nearer to the teacher's; a way back where they did not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from autocompress.passes.recover.config import RecoverConfig
from autocompress.passes.recover.losses import TensorLoss, output_loss
from autocompress.passes.recover.moving_average import copied, restore
from autocompress.passes.recover.pair import Pair
from autocompress.passes.recover.samples import Samples
from autocompress.progress import Progress

_UNITS_AT_ONCE = 16
_MOST_UNITS = 128
_LOOKED_AT = 8  # batches from which losses are chosen, where a batch is a single sample


class OutputCheck:
    """Remembers the student's weights as they are now.

    Args:
        pair: student and teacher.
        config: of the recovery.
        changed: names of layers that were changed before.
    """

    def __init__(self, pair: Pair, config: RecoverConfig, changed: Sequence[str]) -> None:
        self._pair, self._config = pair, config
        self._weights = list(pair.student.weights.values())
        self._before = copied(self._weights)
        self._changed_before = list(changed)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def kept(self, changed: list[str], samples: Samples, progress: Progress) -> list[str]:
        """Restores the weights where the outputs have gone further away since.

        Args:
            changed: names of layers that were changed until now.
            samples: of which the part that layers are judged by is used.
            progress: is told what was left out.

        Returns:
            Names of the layers whose changes stay.
        """
        losses = self._losses(samples)
        after = self._loss(samples, losses)
        present = copied(self._weights)
        restore(self._weights, self._before)
        before = self._loss(samples, losses)
        if after < before:
            restore(self._weights, present)
            return changed
        progress.notice(f"closed form was left out: held-out loss {after:.4g} is not below the {before:.4g} before")
        return self._changed_before

    def _losses(self, samples: Samples) -> dict[str, TensorLoss]:
        parts = []
        for feeds in self._held_out(samples):
            parts.append(self._pair.teacher.run(feeds, self._pair.teacher.outputs))
            if len(parts) == (1 if samples.is_mixable else _LOOKED_AT):
                break
        config, found = self._config, {}
        for name, value in parts[0].items():
            alike = value.dim() and all(part[name].shape == value.shape for part in parts)
            if value.is_floating_point():
                values = torch.cat([part[name] for part in parts]) if alike else value
                found[name] = output_loss(values, config.output_loss, config.temperature, 1.0)
        return found

    def _loss(self, samples: Samples, losses: dict[str, TensorLoss]) -> float:
        """Mean over the samples that judge."""
        total, count = 0.0, 0
        for feeds in self._held_out(samples):
            own, wanted = (graph.run(feeds, list(losses)) for graph in (self._pair.student, self._pair.teacher))
            size = max(len(array) for array in feeds.values())
            total += size * sum(float(loss(own[name], wanted[name])) for name, loss in losses.items())
            count += size
        return total / count

    def _held_out(self, samples: Samples) -> Iterator[dict[str, torch.Tensor]]:
        _, positions = samples.split(max(self._config.held_out, 0.25), self._config.seed)
        for batch in samples.in_order(positions[:_MOST_UNITS], _UNITS_AT_ONCE):
            yield {name: torch.as_tensor(array) for name, array in batch.feeds.items()}
