"""The loop that trains parameters: Adam, cosine, clipping, average, and a way back from what goes wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from autocompress.passes.recover.checkpoint import TrainingState, load_state, moments_of, save_state, set_moments
from autocompress.passes.recover.config import RecoverConfig
from autocompress.passes.recover.moving_average import MovingAverage, copied, restore
from autocompress.passes.recover.schedule import Schedule
from autocompress.progress import Progress

_EVALUATIONS = 20  # in a training
_MOST_ROLLBACKS = 3
_BETAS = (0.9, 0.999)


@dataclass
class Problem:
    """What is trained.

    Attributes:
        parameters: trained together.
        rates: learning rate of each, relative to the configuration's.
        loss: step -> loss with gradients.
        judge: loss on held-out samples, without gradients.
        masks: position of a parameter -> tensor of ones and zeros that its values keep to.
        identity: JSON-ready facts by which a checkpoint knows whether it belongs here.
    """

    parameters: Sequence[Any]
    rates: Sequence[float]
    loss: Callable[[int], torch.Tensor]
    judge: Callable[[], float]
    masks: Mapping[int, torch.Tensor] = field(default_factory=dict)
    identity: Mapping[str, Any] = field(default_factory=dict)


class Training:
    """One run of the loop; at its end the parameters are the best by held-out loss.

    Args:
        problem: what is trained.
        config: of the recovery.
        steps: most steps.
        progress: told about steps, losses and what went wrong.
        deadline_s: seconds; None has no deadline.
        checkpoint: file to write to and to go on from; None keeps none.
    """

    def __init__(
        self,
        problem: Problem,
        config: RecoverConfig,
        steps: int,
        progress: Progress,
        deadline_s: float | None = None,
        checkpoint: Path | None = None,
    ) -> None:
        self._problem = problem
        self._config = config
        self._steps = steps
        self._progress = progress
        self._checkpoint = checkpoint
        self._schedule = Schedule(steps, deadline_s, config.warmup)
        self._optimizer = torch.optim.AdamW(
            [
                {"params": [p], "lr": config.learning_rate * rate, "rate": rate}
                for p, rate in zip(problem.parameters, problem.rates, strict=True)
            ],
            betas=_BETAS,
            weight_decay=config.weight_decay,
        )
        self._average = MovingAverage(problem.parameters, config.ema_decay)
        self._slowdown = 1.0
        self._rollbacks = 0
        self._without_gain = 0
        self._next_evaluation = 1.0 / _EVALUATIONS
        self._evaluated = 0  # the step of the last one
        self.step = 0
        self.first_loss = math.nan
        self.best_loss = math.inf
        self._best = copied(problem.parameters)
        self._good = self._best

    def run(self) -> None:
        """Trains until the steps, the deadline, patience or Ctrl-C end it."""
        parameters = self._problem.parameters
        if not self._resume():
            self.first_loss = self.best_loss = _finite(self._problem.judge())
        try:
            while self.step < self._steps and self._schedule.done(self.step) < 1.0:
                self.advance()
                if self._schedule.done(self.step) >= self._next_evaluation:
                    self._evaluate()
                if self._is_over():
                    break
            if self.step != self._evaluated:
                self._evaluate()
        except KeyboardInterrupt:
            self._progress.notice(f"recovery stopped after {self.step} steps; the best weights so far are kept")
        restore(parameters, self._best)

    def _is_over(self) -> bool:
        if self._rollbacks > _MOST_ROLLBACKS:
            self._progress.notice("recovery keeps leaving finite numbers; it ends with the best weights so far")
            return True
        return 0 < self._config.patience <= self._without_gain

    def advance(self) -> None:
        """One step of the optimizer, or back to the last good weights where it leaves finite numbers."""
        parameters = self._problem.parameters
        rate = self._config.learning_rate * self._slowdown * self._schedule.factor(self.step)
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["rate"]
        self._optimizer.zero_grad(set_to_none=True)
        loss = self._problem.loss(self.step)
        self.step += 1
        self._progress.advance()
        if math.isfinite(float(loss.detach())):
            loss.backward()
            limit = self._config.clip_norm or math.inf
            norm = torch.nn.utils.clip_grad_norm_([p for p in parameters if p.grad is not None], limit)
            if math.isfinite(float(norm)):
                self._optimizer.step()
                self._apply_masks()
                self._average.update()
                return
        self._roll_back()

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def _apply_masks(self) -> None:
        for position, mask in self._problem.masks.items():
            self._problem.parameters[position].mul_(mask)

    def _roll_back(self) -> None:
        restore(self._problem.parameters, self._good)
        restore(self._average.values, self._good)
        self._optimizer.state.clear()
        self._slowdown /= 2
        self._rollbacks += 1
        self._progress.notice(
            f"recovery diverged at step {self.step}; back to the last good weights with half the learning rate"
        )

    def _evaluate(self) -> None:
        """Judges the averaged weights, and keeps them where they are the best."""
        parameters = self._problem.parameters
        self._plan_evaluation()
        present = copied(parameters)
        restore(parameters, self._average.values)
        loss = _finite(self._problem.judge())
        restore(parameters, present)
        if not math.isfinite(loss):
            self._roll_back()
            return
        self._good = present
        self._without_gain = 0 if loss < self.best_loss else self._without_gain + 1
        if loss < self.best_loss:
            self.best_loss = loss
            self._best = copied(self._average.values)
        left_s = max(0.0, self._schedule.left_s(self.step))
        self._progress.detail(f"loss {loss:.4g} from {self.first_loss:.4g}, {left_s:.0f} s left")
        self._save()

    def _plan_evaluation(self) -> None:
        """After another twentieth of the training, by steps or by time."""
        passed = math.floor(self._schedule.done(self.step) * _EVALUATIONS + 1e-9)
        self._evaluated, self._next_evaluation = self.step, (passed + 1) / _EVALUATIONS

    def _save(self) -> None:
        if self._checkpoint is None:
            return
        numbers = {
            "identity": dict(self._problem.identity),
            "step": self.step,
            "first_loss": self.first_loss,
            "best_loss": self.best_loss,
            "slowdown": self._slowdown,
            "rollbacks": self._rollbacks,
            "without_gain": self._without_gain,
        }
        arrays = {
            "parameters": list(self._problem.parameters),
            "average": self._average.values,
            "best": self._best,
            **moments_of(self._optimizer, self._problem.parameters),
        }
        save_state(self._checkpoint, TrainingState(numbers, arrays))

    def _resume(self) -> bool:
        """Goes on from a checkpoint of this very training; whether there was one."""
        state = load_state(self._checkpoint, self._problem.identity) if self._checkpoint else None
        if state is None:
            return False
        restore(self._problem.parameters, state.arrays["parameters"])
        restore(self._average.values, state.arrays["average"])
        self._average.count = int(state.numbers["step"])
        self._best, self._good = state.arrays["best"], copied(self._problem.parameters)
        self.step = int(state.numbers["step"])
        self._plan_evaluation()
        self.first_loss, self.best_loss = float(state.numbers["first_loss"]), float(state.numbers["best_loss"])
        self._slowdown, self._rollbacks = float(state.numbers["slowdown"]), int(state.numbers["rollbacks"])
        self._without_gain = int(state.numbers["without_gain"])
        set_moments(self._optimizer, self._problem.parameters, state.arrays, self.step)
        self._progress.advance(self.step)
        return True


def _finite(loss: float) -> float:
    return loss if math.isfinite(loss) else math.inf
