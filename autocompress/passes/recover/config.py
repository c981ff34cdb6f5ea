"""What a recovery does, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from autocompress.errors import RecipeError
from autocompress.passes.config_rows import refuse_unknown

LEVELS = ("none", "closed_form", "light", "full")
DISTILLATIONS = ("end_to_end", "block_wise", "layer_wise")
OUTPUT_LOSSES = ("auto", "kl", "mse")

_STEPS = {"none": 0, "closed_form": 0, "light": 400, "full": 4000}


@dataclass(frozen=True)
class RecoverConfig:
    """Configuration of the recovery of a compressed float (or fake-quantized) model, with the original as its teacher.

    Attributes:
        level: "none"; "closed_form" (seconds); "light" and "full" also train, for minutes and longer.
        steps: optimizer steps; 0 takes those of the level.
        batch_size: samples per step; they are differentiated in as many portions as memory asks for.
        learning_rate: by what part of its own size a weight moves in a step; a cosine takes it to zero.
        step_size_rate: the same for steps of quantization, in units of ``learning_rate``.
        weight_decay: decoupled (AdamW).
        distillation: "end_to_end", "block_wise" (each part between features alone) or "layer_wise" (each layer alone).
        output_loss: "kl", "mse", or "auto", which takes KL for outputs that look like logits or probabilities, and what
            ``data.detections`` says for those that hold boxes beside scores.
        temperature: of the softmax in KL.
        features: inner tensors whose values are also matched; None chooses them.
        feature_weight: of all features together, relative to the outputs, as both are at the start.
        label_weight: of the task loss, where labels are given; 0 asks for none.
        augment: whether image inputs are also shifted, mirrored and mixed; the teacher answers for what comes out.
        bfloat16: whether layers are trained in bfloat16, with weights and losses in float32, where the processor has
            instructions for it: 1.7 times faster.  Quantized students are always trained in float32.
        group_lasso: weight of the sum of the norms of output channels.
        l1: weight of the sum of absolute weights.
        keep_zeros: whether weights that are exactly zero stay so.
        closed_form: whether a trained level starts from the closed form.
        ridge: of the least squares, relative to the mean diagonal of the normal equations.
        ema_decay: of the moving average of weights that is kept; 0 keeps the weights themselves.
        clip_norm: largest norm of the gradient; 0 does not clip.
        warmup: fraction of the steps with a rising learning rate.
        held_out: fraction of the samples that only judge.
        patience: evaluations without improvement after which training ends; 0 never ends it.
        target_loss: part of the held-out loss at the start at which training has done enough; 0 trains on.
        seed: of every random choice.

    Raises:
        RecipeError: when a field has a value that it cannot have.
    """

    level: str = "light"
    steps: int = 0
    batch_size: int = 32
    learning_rate: float = 0.01
    step_size_rate: float = 0.05
    weight_decay: float = 0.0
    distillation: str = "end_to_end"
    output_loss: str = "auto"
    temperature: float = 2.0
    features: tuple[str, ...] | None = None
    feature_weight: float = 1.0
    label_weight: float = 0.0
    augment: bool = True
    bfloat16: bool = True
    group_lasso: float = 0.0
    l1: float = 0.0
    keep_zeros: bool = True
    closed_form: bool = True
    ridge: float = 1e-3
    ema_decay: float = 0.99
    clip_norm: float = 1.0
    warmup: float = 0.05
    held_out: float = 0.1
    patience: int = 0
    target_loss: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise _wrong(name, getattr(self, name), "one of " + ", ".join(allowed))
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
                raise _wrong(name, value, f"a number from {low:g} to {high:g}")
        for name in ("augment", "bfloat16", "keep_zeros", "closed_form"):
            if not isinstance(getattr(self, name), bool):
                raise _wrong(name, getattr(self, name), "true or false")
        for name in ("steps", "batch_size", "patience", "seed"):
            if not isinstance(getattr(self, name), int):
                raise _wrong(name, getattr(self, name), "a whole number")

    @property
    def trains(self) -> bool:
        """Whether the level has steps of an optimizer."""
        return self.level in ("light", "full")

    @property
    def total_steps(self) -> int:
        """Optimizer steps, the level's own where none are given."""
        return (self.steps or _STEPS[self.level]) if self.trains else 0

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form; a choice that older versions did not have is left out where it has its default."""
        row = {**asdict(self), "features": None if self.features is None else list(self.features)}
        if not self.target_loss:
            del row["target_loss"]
        return row

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> RecoverConfig:
        """Inverse of ``to_dict``.

        Raises:
            RecipeError: on an unknown field or value.
        """
        refuse_unknown(cls, row, "recover")
        features = row.get("features")
        if features is not None and (isinstance(features, str) or not all(isinstance(name, str) for name in features)):
            raise _wrong("features", features, "a list of tensor names")
        return cls(**{**row, "features": None if features is None else tuple(features)})


_CHOICES = {"level": LEVELS, "distillation": DISTILLATIONS, "output_loss": OUTPUT_LOSSES}
_RANGES: dict[str, tuple[float, float]] = {
    "steps": (0, 10**9),
    "batch_size": (1, 10**6),
    "learning_rate": (1e-12, 10),
    "step_size_rate": (0, 100),
    "weight_decay": (0, 10),
    "temperature": (0.01, 100),
    "feature_weight": (0, 1e6),
    "label_weight": (0, 1e6),
    "group_lasso": (0, 1e6),
    "l1": (0, 1e6),
    "ridge": (0, 1e6),
    "ema_decay": (0, 0.99999),
    "clip_norm": (0, 1e9),
    "warmup": (0, 1),
    "held_out": (0, 0.9),
    "target_loss": (0, 1),
    "patience": (0, 10**9),
    "seed": (0, 2**63 - 1),
}


def _wrong(name: str, value: object, allowed: str) -> RecipeError:
    return RecipeError(f"recover step: {name} is {value!r}; it must be {allowed}")
