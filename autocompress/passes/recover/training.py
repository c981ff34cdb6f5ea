"""The loop that trains parameters: descent, cosine, clipping, average, and a way back from what goes wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from autocompress.passes.recover.checkpoint import TrainingState, load_state, save_state
from autocompress.passes.recover.config import RecoverConfig
from autocompress.passes.recover.moving_average import MovingAverage, copied, restore
from autocompress.passes.recover.optimizer import Descent
from autocompress.passes.recover.schedule import Schedule
from autocompress.progress import Progress

EVALUATIONS = 6  # in a training
_MOST_ROLLBACKS = 3
_WORSE = 2.0  # so many times the loss of the best weights means that the learning rate is too high
_SLOWER = 3.0  # by which it is divided then


@dataclass
class Problem:
    """What is trained.

    Attributes:
        parameters: trained together.
        scales: how far the elements of each move in a step at a learning rate of 1, broadcast to it.
        learn: step -> loss, with its gradients added to the parameters'.
        judge: loss on held-out samples, without gradients.
        masks: position of a parameter -> tensor of ones and zeros that its values keep to.
        identity: JSON-ready facts by which a checkpoint knows whether it belongs here.
    """

    parameters: Sequence[Any]
    scales: Sequence[torch.Tensor]
    learn: Callable[[int], float]
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
        self._optimizer = Descent(problem.parameters, problem.scales, config.weight_decay)
        self._average = MovingAverage(problem.parameters, config.ema_decay)
        self._slowdown = 1.0
        self._rollbacks = 0
        self._without_gain = 0
        self._next_evaluation = 1.0 / EVALUATIONS
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
            self._progress.notice("recovery keeps losing ground; it ends with the best weights so far")
            return True
        return 0 < self._config.patience <= self._without_gain or self._reached_target()

    def _reached_target(self) -> bool:
        return bool(self._config.target_loss) and self.best_loss <= self._config.target_loss * self.first_loss

    def advance(self) -> None:
        """One step of the optimizer, or back to the last good weights where it leaves finite numbers."""
        rate = self._config.learning_rate * self._slowdown * self._schedule.factor(self.step)
        self._optimizer.zero_grad()
        loss = self._problem.learn(self.step)
        self.step += 1
        self._progress.advance()
        self._mask_gradients()
        norm = self._optimizer.clip(self._config.clip_norm or math.inf)
        if math.isfinite(loss) and math.isfinite(norm):
            self._optimizer.step(rate)
            self._apply_masks()
            self._average.update()
        else:
            self._roll_back(self._good, "diverged")

    def _mask_gradients(self) -> None:
        for position, mask in self._problem.masks.items():
            gradient = self._problem.parameters[position].grad
            if gradient is not None:
                gradient.mul_(mask)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def _apply_masks(self) -> None:
        for position, mask in self._problem.masks.items():
            self._problem.parameters[position].mul_(mask)

    def _roll_back(self, weights: Sequence[torch.Tensor], why: str) -> None:
        restore(self._problem.parameters, weights)
        restore(self._average.values, weights)
        self._optimizer.reset()
        self._slowdown /= _SLOWER
        self._rollbacks += 1
        self._progress.notice(
            f"recovery {why} at step {self.step}; back to the last good weights with a third of the learning rate"
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
            self._roll_back(self._good, "diverged")
            return
        # Worse than the beginning: there are too few steps to come back from where so high a rate has led.
        if loss > min(_WORSE * self.best_loss, self.first_loss):
            self._good = self._best
            self._roll_back(self._best, f"lost ground (loss {loss:.4g})")
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
        """After another part of the training, by steps or by time."""
        passed = math.floor(self._schedule.done(self.step) * EVALUATIONS + 1e-9)
        self._evaluated, self._next_evaluation = self.step, (passed + 1) / EVALUATIONS

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
            "moments": self._optimizer.steps,
        }
        arrays = {
            "parameters": list(self._problem.parameters),
            "average": self._average.values,
            "best": self._best,
            "first": [self._optimizer.first],
            "second": [self._optimizer.second],
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
        self._optimizer.first, self._optimizer.second = state.arrays["first"][0], state.arrays["second"][0]
        self._optimizer.steps = int(state.numbers["moments"])
        self._progress.advance(self.step)
        return True


def _finite(loss: float) -> float:
    return loss if math.isfinite(loss) else math.inf
