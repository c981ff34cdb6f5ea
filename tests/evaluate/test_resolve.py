import pickle

import numpy as np
import pytest

from autocompress.errors import DataError, MetricError
from autocompress.evaluate import resolve_metric
from autocompress.evaluate.metrics import BUILTIN, Psnr, Spearman, SpearmanWithin

RNG = np.random.default_rng(0)
SCORES = RNG.standard_normal((16, 10)).astype(np.float32)
IMAGES = RNG.random((16, 3, 8, 8)).astype(np.float32)
MAPS = RNG.standard_normal((16, 5, 8, 8)).astype(np.float32)
CLASSES = RNG.integers(0, 10, 40)


@pytest.mark.parametrize(
    ("output", "labels", "name", "needs_labels"),
    [
        (SCORES, CLASSES, "top1", True),
        (SCORES[:, :, None, None], CLASSES, "top1", True),
        (SCORES, CLASSES.astype(float), "top1", True),
        (SCORES, np.eye(10)[CLASSES], "top1", True),
        (SCORES[:, :1], CLASSES % 2, "top1", True),
        (SCORES.argmax(1), CLASSES, "top1", True),
        (MAPS, RNG.integers(0, 5, (40, 8, 8)), "miou", True),
        (MAPS, RNG.integers(0, 5, (40, 1, 32, 32), dtype=np.uint8), "miou", True),
        (MAPS[:, :1], RNG.integers(0, 2, (40, 8, 8)), "miou", True),
        (IMAGES, RNG.random((40, 3, 8, 8)), "psnr", True),
        (IMAGES[:, :1], RNG.integers(0, 256, (40, 1, 8, 8), dtype=np.uint8), "psnr", True),
        (SCORES, None, "cosine", False),
        (MAPS, None, "cosine", False),
    ],
)
def test_automatic_choice(output, labels, name, needs_labels):
    metric = resolve_metric(None, outputs={"y": output}, labels=labels)
    assert (metric.name, metric.needs_labels, metric.outputs) == (name, needs_labels, ("y",))
    truth = {"labels": labels[:16]} if needs_labels else {"y": output}
    assert np.isfinite(metric.finish(metric.rows({"y": output}, truth)))
    assert pickle.loads(pickle.dumps(metric)) == metric


@pytest.mark.parametrize(
    ("output", "labels"),
    [(SCORES, RNG.random(40)), (SCORES, RNG.random((40, 3))), (SCORES[:, :1], RNG.random(40)), (MAPS, CLASSES)],
)
def test_no_automatic_choice_asks_for_one(output, labels):
    with pytest.raises(MetricError, match="--metric"):
        resolve_metric(None, outputs={"y": output}, labels=labels)


@pytest.mark.parametrize("name", sorted(set(BUILTIN) - {"detections"}))  # see test_detection_metric.py
def test_every_metric_is_perfect_for_the_original_itself(name):
    output = MAPS if name == "miou" else SCORES
    metric = resolve_metric(name.upper(), outputs={"y": output}, labels=None)
    assert (metric.name, metric.needs_labels) == (name, False)
    best = {"mse": 0.0, "kl": 0.0, "psnr": 100.0}.get(name, 1.0)
    assert metric.finish(metric.rows({"y": output}, {"y": output})) == pytest.approx(best)
    changed = output[::-1]
    worse = metric.finish(metric.rows({"y": changed}, {"y": output}))
    assert worse < best if metric.higher_is_better else worse > best
    assert "original" in metric.description


def test_labels_choose_the_output_that_fits():
    outputs = {"aux": IMAGES, "scores": SCORES}
    assert resolve_metric(None, outputs=outputs, labels=CLASSES).outputs == ("scores",)
    assert resolve_metric("top5", outputs=outputs, labels=CLASSES).outputs == ("scores",)
    assert resolve_metric(None, outputs=outputs, labels=None).outputs == ("aux", "scores")


def test_settings_are_found_from_the_outputs():
    probabilities = np.abs(SCORES) / np.abs(SCORES).sum(1, keepdims=True)
    assert resolve_metric("kl", outputs={"y": probabilities}, labels=None).probabilities
    assert not resolve_metric("kl", outputs={"y": SCORES}, labels=None).probabilities
    assert resolve_metric("top1", outputs={"y": SCORES[:, :1]}, labels=CLASSES % 2).threshold == 0.0
    assert resolve_metric("top1", outputs={"y": probabilities[:, :1]}, labels=CLASSES % 2).threshold == 0.5
    spread = resolve_metric("psnr", outputs={"y": SCORES}, labels=None)
    assert isinstance(spread, Psnr)
    assert spread.peak == pytest.approx(SCORES.max() - SCORES.min())


@pytest.mark.parametrize(
    ("output", "labels", "peak", "scale"),
    [
        (IMAGES, RNG.random((40, 3, 8, 8)), 1.0, 1.0),
        (255 * IMAGES, 255 * RNG.random((40, 3, 8, 8)), 255.0, 1.0),
        (IMAGES, RNG.integers(0, 256, (40, 3, 8, 8), dtype=np.uint8), 1.0, 1 / 255),
        (255 * IMAGES, RNG.integers(0, 256, (40, 3, 8, 8), dtype=np.uint8), 255.0, 1.0),
        (IMAGES, np.stack([np.full((3, 8, 8), -2.0), np.full((3, 8, 8), 5.0)]), 7.0, 1.0),
    ],
)
def test_peaks(output, labels, peak, scale):
    metric = resolve_metric("psnr", outputs={"y": output}, labels=labels)
    assert (metric.peak, metric.label_scale) == (peak, scale)
    assert metric.clips == (peak != 7.0)
    assert bool(metric.notices) == (scale != 1.0)


def test_unused_labels_are_said():
    for name in ("cosine", "kl"):
        metric = resolve_metric(name, outputs={"y": SCORES}, labels=CLASSES)
        assert not metric.needs_labels
        assert "not used" in metric.notices[0]
    assert resolve_metric("cosine", outputs={"y": SCORES}, labels=RNG.random((40, 10))).needs_labels


def test_spearman_forms():
    one = SCORES[:, :1]
    assert isinstance(resolve_metric("spearman", outputs={"y": one}, labels=RNG.random(40)), Spearman)
    assert isinstance(resolve_metric("spearman", outputs={"y": one}, labels=None), Spearman)
    assert isinstance(resolve_metric("spearman", outputs={"y": SCORES}, labels=None), SpearmanWithin)


@pytest.mark.parametrize(
    ("choice", "output", "labels", "match"),
    [
        ("top2", SCORES, None, "choose top1"),
        ("top5", SCORES[:, :4], None, "more than 5"),
        ("top1", MAPS, CLASSES, "class scores"),
        ("top1", SCORES, RNG.random(40), "class number"),
        ("miou", SCORES, CLASSES, "miou needs"),
        ("mse", SCORES, CLASSES, "labels of an output's shape"),
        ("psnr", SCORES, CLASSES, "labels of an output's shape"),
        ("spearman", SCORES, CLASSES, "one number per sample"),
        ("spearman", SCORES[:, :1], RNG.random((40, 2)), "as label"),
        ("kl", SCORES.argmax(1), None, "class scores"),
    ],
)
def test_what_does_not_fit_is_named(choice, output, labels, match):
    with pytest.raises(MetricError, match=match):
        resolve_metric(choice, outputs={"y": output}, labels=labels)


def test_labels_outside_the_model_are_bad_data():
    with pytest.raises(DataError, match="Label 10"):
        resolve_metric("top1", outputs={"y": SCORES}, labels=np.array([0, 10]))
    with pytest.raises(DataError, match="Label 9"):
        resolve_metric("miou", outputs={"y": MAPS}, labels=np.full((3, 8, 8), 9))


def test_text_outputs_cannot_be_judged():
    with pytest.raises(MetricError, match="no numeric output"):
        resolve_metric(None, outputs={"y": np.array(["a"])}, labels=None)
