"""How far a student's tensors are from its teacher's."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as functional

from autocompress.data.detections import ConstantDeviances, DetectionLayout, detection_layout, deviances
from autocompress.data.labels import check_labels
from autocompress.errors import DataError
from autocompress.graph.torch_execution.call import Tensor
from autocompress.graph.torch_execution.weights import Array
from autocompress.passes.recover.resampling import resampled
from autocompress.passes.recover.twins import channel_axis, channels_of

_PEAK = 5.0  # a mean largest probability so many times the uniform one looks like a classifier's
_FLOOR = 1e-3  # of the mean variance: channels that hardly vary are not blown up


@dataclass(frozen=True)
class DetectionScale:
    """What constants would leave of an output that holds detections, per place.

    Attributes:
        layout: of the output.
        scores: divergence of all scores.
        numbers: weighted variance of each number.
    """

    layout: DetectionLayout
    scores: float
    numbers: Any

    def loss(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Mean of the lost deviances of scores and of numbers."""
        divergence, squares = deviances(self.layout, teacher, student, torch)
        places = teacher.numel() // teacher.shape[self.layout.axis]
        return (divergence / self.scores + (squares / self.numbers).mean()) / (2 * places)


@dataclass(frozen=True)
class TensorLoss:
    """The loss at one tensor.

    Attributes:
        kind: "kl" on logits, "probabilities" (KL on what already is softmaxed), "detections" (lost deviance of scores
            and of boxes where something is found, see ``data.detections``), or "mse".
        weight: factor.
        temperature: of the softmax of "kl".
        inverse_variance: for "mse", 1 / variance of the teacher per channel, broadcast over the tensor.
        channels: those of the teacher that the student computes; None where it computes all.
        detections: what "detections" are measured by; None for all other kinds.
    """

    kind: str
    weight: float
    temperature: float
    inverse_variance: Any
    channels: Any = None
    detections: DetectionScale | None = None

    def __call__(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Mean over samples and elements; maps of a teacher are compared at the student's height and width."""
        if self.channels is not None:
            teacher = channels_of(teacher, self.channels, channel_axis(teacher))
        teacher = resampled(teacher, student)
        if self.detections is not None:
            return self.weight * self.detections.loss(student, teacher)
        if self.kind == "kl":
            return self.weight * _divergence(student, teacher, self.temperature)
        if self.kind == "probabilities":
            logs = student.clamp_min(1e-12).log()
            return self.weight * functional.kl_div(logs, teacher, reduction="sum") / _rows(teacher)
        return self.weight * ((student - teacher) ** 2 * self.inverse_variance).mean()


def output_loss(teacher: Tensor, choice: str, temperature: float, weight: float) -> TensorLoss:
    """The loss for an output, from what the teacher gives there.

    Args:
        teacher: values on many samples, of shape (n, ...).
        choice: "kl", "mse" or "auto".
        temperature: of KL.
        weight: factor.
    """
    scale = _detection_scale(teacher) if choice == "auto" else None
    if scale is not None:
        return TensorLoss("detections", weight, temperature, None, detections=scale)
    kind = _output_kind(teacher) if choice == "auto" else choice
    if kind == "kl" and _is_distribution(teacher):
        kind = "probabilities"
    return TensorLoss(kind, weight, temperature, _inverse_variance(teacher) if kind == "mse" else None)


def feature_loss(teacher: Tensor, weight: float, channels: Tensor | None = None) -> TensorLoss:
    """Mean squared error over the variance of each channel of the teacher.

    Args:
        teacher: values on many samples.
        weight: factor.
        channels: of the teacher that the student computes; None for all.
    """
    left = teacher if channels is None else channels_of(teacher, channels, channel_axis(teacher))
    return TensorLoss("mse", weight, 1.0, _inverse_variance(left), channels)


def task_loss(logits: Tensor, labels: Array) -> Tensor:
    """Cross entropy with integer classes.

    Raises:
        DataError: labels are outside the classes of the logits, or these are no scores of classes.
    """
    if logits.dim() != 2:
        raise DataError(
            f"the task loss of recovery needs class scores of shape (n, classes), and the first output is "
            f"{tuple(logits.shape)}; leave label_weight at 0"
        )
    check_labels(labels, int(logits.shape[1]))
    return functional.cross_entropy(logits, torch.as_tensor(labels, dtype=torch.int64))


def _divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """KL of softened distributions times T^2 (Hinton et al., arXiv 1503.02531)."""
    own = functional.log_softmax(student / temperature, -1)
    wanted = functional.log_softmax(teacher / temperature, -1)
    return functional.kl_div(own, wanted, log_target=True, reduction="sum") * temperature**2 / _rows(teacher)


def _rows(tensor: Tensor) -> int:
    return max(1, int(tensor.numel()) // max(1, int(tensor.shape[-1])))


def _output_kind(teacher: Tensor) -> str:
    """KL where the teacher gives one score per class and is mostly sure, as classifiers are; else MSE."""
    if teacher.dim() != 2 or teacher.shape[1] < 2:
        return "mse"
    if _is_distribution(teacher):
        return "kl"
    classes = teacher.shape[1]
    peak = float(torch.softmax(teacher, 1).amax(1).mean())
    return "kl" if peak > min(_PEAK / classes, 0.6) else "mse"


def _detection_scale(teacher: Tensor) -> DetectionScale | None:
    values = teacher.detach().numpy()
    layout = detection_layout(values)
    if layout is None:
        return None
    constant = ConstantDeviances(layout)
    constant.add(values)
    return DetectionScale(
        layout,
        constant.scores / constant.places,
        torch.as_tensor(constant.numbers / constant.places, dtype=torch.float32),
    )


def _is_distribution(teacher: Tensor) -> bool:
    return bool((teacher >= 0).all()) and bool(((teacher.sum(-1) - 1).abs() < 1e-3).all())


def _inverse_variance(teacher: Tensor) -> Tensor:
    """1 / variance per channel (axis 1 of images, the last axis else), shaped for broadcasting."""
    axis = channel_axis(teacher)
    others = tuple(a for a in range(teacher.dim()) if a != axis) or (0,)
    variance = teacher.var(others, unbiased=False, keepdim=True) if teacher.numel() > 1 else torch.ones_like(teacher)
    floor = max(float(variance.mean()) * _FLOOR, math.ulp(0.0) ** 0.1)
    return 1.0 / variance.clamp_min(floor)
