"""From what the user asked for (or nothing) to a metric that fits the model's outputs and the labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy.typing as npt

from autocompress.data.fit import shape_text
from autocompress.data.function import is_function_reference
from autocompress.data.labels import IGNORED_LABEL, as_classes, check_labels
from autocompress.errors import MetricError
from autocompress.evaluate.metrics import truth
from autocompress.evaluate.metrics.classification import OutputKind, Top1, Top5
from autocompress.evaluate.metrics.cosine import Cosine
from autocompress.evaluate.metrics.detection import Detections, DetectionScale, detection_scales
from autocompress.evaluate.metrics.kl import Kl, looks_like_probabilities
from autocompress.evaluate.metrics.metric import RowMetric
from autocompress.evaluate.metrics.miou import Miou
from autocompress.evaluate.metrics.mse import Mse
from autocompress.evaluate.metrics.psnr import Psnr
from autocompress.evaluate.metrics.spearman import Spearman, SpearmanWithin
from autocompress.evaluate.metrics.user import Function, UserMetric, user_metric

Values = npt.NDArray[Any]
Metric = RowMetric | UserMetric


def resolve_metric(choice: str | Function | None, *, outputs: Mapping[str, Values], labels: Values | None) -> Metric:
    """Settles the metric.

    Without a choice: class labels and an output of class scores give top1, label maps miou, labels of the output's
    shape psnr; no labels give detections for a detector and cosine for all others, against the original model.  Metrics
    of labels judge the first output that fits; without labels mse, psnr, cosine and detections judge all outputs, the
    others the first that fits.  cosine, detections and kl are measured against the original model also when there are
    labels, unless (cosine, kl) these have the output's shape.

    Args:
        choice: a built-in name, ``module.path:function``, a function, or None.
        outputs: the original model's outputs on some samples, by name, shape (m, ...); 16 samples or more tell logits
            from probabilities.
        labels: labels of shape (n, ...), all of them where they are class numbers (their range is checked); or None.

    Raises:
        MetricError: when nothing fits, naming what to do.
        DataError: when a label is outside the model's classes.
    """
    if callable(choice) or (isinstance(choice, str) and is_function_reference(choice)):
        return user_metric(choice)
    floats = {name: values for name, values in outputs.items() if values.dtype.kind in "fiu" and values.ndim}
    if not floats:
        raise MetricError("The model has no numeric output to judge; give a function of your own with --metric.")
    if choice is None:
        return _automatic(floats, labels)
    return _builtin(choice)(floats, labels)


def check_metric_choice(choice: object) -> None:
    """Makes sure that a choice of metric can mean something, before anything is measured.

    Raises:
        MetricError: naming what there is to choose from.
    """
    if choice is None or callable(choice):
        return
    if not isinstance(choice, str):
        raise MetricError(f"A metric must be a name or a function, not {type(choice).__name__}.")
    if not is_function_reference(choice):
        _builtin(choice)


def _builtin(name: str) -> Callable[[Mapping[str, Values], Values | None], RowMetric]:
    build = BUILTIN.get(name.lower())
    if build is None:
        raise MetricError(f"'{name}' is no metric: choose {', '.join(BUILTIN)}, or module.path:function.")
    return build


def _automatic(outputs: Mapping[str, Values], labels: Values | None) -> RowMetric:
    if labels is None:
        scales = detection_scales(outputs)
        return _detecting(outputs, scales) if scales else _cosine(outputs, None)
    for name, output in outputs.items():
        one = {name: output}
        classes = truth.class_count(output)
        if truth.is_class_labels(labels) and classes is not None and (classes > 1 or _is_binary(output, labels)):
            return _top1(one, labels)
        if truth.is_label_map(labels, output):
            return _miou(one, labels)
        if truth.is_target(output, labels):
            return _psnr(one, labels)
    raise MetricError(
        f"No metric goes by itself with labels of {labels.dtype} {labels.shape} and {_listed(outputs)}: give --metric "
        f"({', '.join(BUILTIN)}, or module.path:function)."
    )


def _is_binary(output: Values, labels: Values) -> bool:
    """Whether one score per sample is that of class 1 of two, or the class itself."""
    classes = as_classes(labels)
    return output.dtype.kind in "iu" or (labels.dtype.kind != "f" and classes is not None and classes.max() <= 1)


def _top1(outputs: Mapping[str, Values], labels: Values | None) -> RowMetric:
    return Top1(**_classification("top1", outputs, labels))


def _top5(outputs: Mapping[str, Values], labels: Values | None) -> RowMetric:
    settings = _classification("top5", outputs, labels)
    if settings["kind"] != "scores" or settings["classes"] <= 5:
        raise MetricError(f"top5 needs scores of more than 5 classes, not {_listed(outputs)}.")
    return Top5(**settings)


def _classification(metric: str, outputs: Mapping[str, Values], labels: Values | None) -> dict[str, Any]:
    classes = None if labels is None else as_classes(labels)
    if labels is not None and classes is None:
        raise MetricError(f"{metric} needs one class number per sample, not labels of {labels.dtype} {labels.shape}.")
    for name, output in outputs.items():
        count = truth.class_count(output)
        if count is None:
            continue
        kind: OutputKind = "scores" if count > 1 else ("classes" if output.dtype.kind in "iu" else "binary")
        if kind == "classes":
            count = 1 + max(int(output.max()), 0 if classes is None else int(classes.max()))
        number = max(count, 2)
        if classes is not None:
            check_labels(classes, number)
        threshold = truth.binary_threshold(output) if kind == "binary" else 0.0
        return {
            "outputs": (name,), "needs_labels": labels is not None, "kind": kind, "classes": number,
            "threshold": threshold,
        }  # fmt: skip
    raise MetricError(f"{metric} needs an output of class scores of shape (n, C), not {_listed(outputs)}.")


def _mse(outputs: Mapping[str, Values], labels: Values | None) -> RowMetric:
    if labels is None:
        return Mse(outputs=tuple(outputs), needs_labels=False)
    return Mse(outputs=(_output_like(labels, outputs, "mse"),), needs_labels=True)


def _psnr(outputs: Mapping[str, Values], labels: Values | None) -> RowMetric:
    if labels is None:
        peak = max(truth.value_range(output) for output in outputs.values())
        return Psnr(outputs=tuple(outputs), needs_labels=False, peak=peak)
    name = _output_like(labels, outputs, "psnr")
    peak, scale, is_image = truth.pixel_scale(outputs[name], labels)
    notices = (f"psnr: {labels.dtype} labels are divided by {1 / scale:g} to match the outputs.",) if scale != 1 else ()
    return Psnr(outputs=(name,), needs_labels=True, peak=peak, label_scale=scale, clips=is_image, notices=notices)


def _cosine(outputs: Mapping[str, Values], labels: Values | None) -> RowMetric:
    names = [name for name, output in outputs.items() if labels is not None and _soft(output, labels)]
    if names:
        return Cosine(outputs=(names[0],), needs_labels=True)
    return Cosine(outputs=tuple(outputs), needs_labels=False, notices=_unused("cosine", labels))


def _detections(outputs: Mapping[str, Values], labels: Values | None) -> RowMetric:
    scales = detection_scales(outputs)
    if not scales:
        raise MetricError(
            "detections needs an output with scores and boxes side by side that finds something, not "
            f"{_listed(outputs)}."
        )
    return _detecting(outputs, scales, _unused("detections", labels))


def _detecting(
    outputs: Mapping[str, Values], scales: Mapping[str, DetectionScale], notices: tuple[str, ...] = ()
) -> RowMetric:
    return Detections(outputs=tuple(outputs), needs_labels=False, scales=scales, notices=notices)


def _kl(outputs: Mapping[str, Values], labels: Values | None) -> RowMetric:
    name, output = next(iter(outputs.items()))
    if output.dtype.kind != "f":
        raise MetricError(f"kl needs an output of class scores, not {_listed(outputs)}.")
    soft = labels is not None and _soft(output, labels) and looks_like_probabilities(labels)
    return Kl(
        outputs=(name,),
        needs_labels=soft,
        probabilities=looks_like_probabilities(output),
        notices=() if soft else _unused("kl", labels),
    )


def _miou(outputs: Mapping[str, Values], labels: Values | None) -> RowMetric:
    for name, output in outputs.items():
        if labels is not None and not truth.is_label_map(labels, output):
            continue
        if output.ndim == 4:
            count, threshold = max(output.shape[1], 2), truth.binary_threshold(output)
        elif output.ndim == 3 and output.dtype.kind in "iu":
            count, threshold = 1 + int(max(output.max(), 0 if labels is None else _largest_label(labels))), 0.0
        else:
            continue
        if labels is not None:
            check_labels(labels, count, maps=True)
        return Miou(outputs=(name,), needs_labels=labels is not None, classes=count, threshold=threshold)
    found = "" if labels is None else f" and label maps (n, H, W), not labels of {labels.dtype} {labels.shape}"
    raise MetricError(f"miou needs an output of shape (n, C, h, w){found}; the model gives {_listed(outputs)}.")


def _spearman(outputs: Mapping[str, Values], labels: Values | None) -> RowMetric:
    singles = [name for name, output in outputs.items() if truth.class_count(output) == 1]
    if labels is None and not singles:
        return SpearmanWithin(outputs=tuple(outputs)[:1], needs_labels=False)
    if not singles:
        raise MetricError(
            f"spearman with labels needs an output of one number per sample, not {_listed(outputs)}; for embeddings "
            "give a function of your own."
        )
    if labels is not None and labels.size != len(labels):
        raise MetricError(f"spearman needs one number per sample as label, not labels of shape {labels.shape}.")
    return Spearman(outputs=(singles[0],), needs_labels=labels is not None)


def _output_like(labels: Values, outputs: Mapping[str, Values], metric: str) -> str:
    for name, output in outputs.items():
        if truth.same_shape(output, labels):
            return name
    raise MetricError(
        f"{metric} needs labels of an output's shape, not {labels.shape}; outputs are {_listed(outputs)}."
    )


def _soft(output: Values, labels: Values) -> bool:
    """Whether the labels are targets for the whole output rather than class numbers."""
    return labels.dtype.kind == "f" and labels.ndim > 1 and truth.same_shape(output, labels)


def _unused(metric: str, labels: Values | None) -> tuple[str, ...]:
    if labels is None:
        return ()
    return (f"The labels are not used: {metric} compares the outputs with the original model's.",)


def _largest_label(labels: Values) -> int:
    scored = labels[labels != IGNORED_LABEL]
    return int(scored.max()) if scored.size else 0


def _listed(outputs: Mapping[str, Values]) -> str:
    return ", ".join(f"output '{name}' {shape_text(('n', *output.shape[1:]))}" for name, output in outputs.items())


BUILTIN: Final[Mapping[str, Callable[[Mapping[str, Values], Values | None], RowMetric]]] = {
    "top1": _top1,
    "top5": _top5,
    "mse": _mse,
    "psnr": _psnr,
    "cosine": _cosine,
    "detections": _detections,
    "kl": _kl,
    "miou": _miou,
    "spearman": _spearman,
}
