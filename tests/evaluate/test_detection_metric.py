"""Fidelity of detectors: what is kept of scores and boxes where the original finds something."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from autocompress.errors import MetricError
from autocompress.evaluate import resolve_metric
from autocompress.evaluate.metrics import Cosine, Detections

SAMPLES, PLACES, CLASSES = 12, 300, 4
NUMBERS = slice(0, 4)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


def detector(seed: int = 0) -> np.ndarray:
    """Boxes in pixels, objectness and classes: noise at nearly all places."""
    rng = np.random.default_rng(seed)
    found = rng.random((SAMPLES, PLACES)) < 0.02
    kind = rng.integers(0, CLASSES, found.shape)
    own = (np.arange(CLASSES) == kind[..., None]) & found[..., None]
    boxes = rng.normal(200, 80, (*found.shape, 4))
    objectness = sigmoid(np.where(found, 2.5, -7.0) + rng.normal(0, 0.3, found.shape))[..., None]
    classes = sigmoid(np.where(own, 2.0, -4.0) + rng.normal(0, 0.5, own.shape))
    return np.concatenate([boxes, objectness, classes], -1).astype(np.float32)


ORIGINAL = detector()


def metric(choice: str | None = None, **others: np.ndarray) -> Detections:
    found = resolve_metric(choice, outputs={"y": ORIGINAL, **others}, labels=None)
    assert isinstance(found, Detections)
    return found


def value(changed: np.ndarray) -> float:
    rows = metric().rows({"y": changed}, {"y": ORIGINAL})
    assert rows.shape == (SAMPLES, 1)
    return metric().finish(rows)


def test_without_labels_detectors_are_judged_by_their_detections() -> None:
    assert metric().description == "detections against the original model"
    assert metric().scales == metric("detections").scales
    assert pickle.loads(pickle.dumps(metric())) == metric()


def test_the_original_keeps_all_and_another_network_nothing() -> None:
    assert value(ORIGINAL) == 1.0
    assert value(detector(seed=1)) < 0.1


def test_lost_detections_show_where_a_cosine_is_blind() -> None:
    silent = ORIGINAL.copy()
    silent[..., 4:] = np.minimum(silent[..., 4:], 1e-3)
    cosine = Cosine(outputs=("y",), needs_labels=False).score(silent, ORIGINAL).mean()
    assert cosine > 0.9999
    assert value(silent) < 0.6


def test_the_background_counts_for_nothing() -> None:
    background = ORIGINAL[..., 4] < 0.05
    changed = ORIGINAL.copy()
    changed[..., NUMBERS][background] += 50
    assert value(changed) > 0.95
    changed = ORIGINAL.copy()
    changed[..., NUMBERS][~background] += 50
    assert value(changed) < 0.9


def test_more_noise_keeps_less() -> None:
    rng = np.random.default_rng(2)
    noise = rng.standard_normal(ORIGINAL.shape).astype(np.float32)
    scale = np.where(np.arange(ORIGINAL.shape[-1]) < 4, 40.0, 0.0)
    values = [value((ORIGINAL + size * scale * noise).astype(np.float32)) for size in (0.0, 0.1, 0.5, 2.0)]
    assert values == sorted(values, reverse=True) and values[0] - values[-1] > 0.3


def test_batches_of_any_size_give_the_same_rows() -> None:
    changed = (ORIGINAL * 0.9).astype(np.float32)
    at_once = metric().rows({"y": changed}, {"y": ORIGINAL})
    parts = [metric().rows({"y": changed[i : i + 5]}, {"y": ORIGINAL[i : i + 5]}) for i in range(0, SAMPLES, 5)]
    np.testing.assert_array_equal(np.concatenate(parts), at_once)


def test_other_outputs_count_by_their_cosine() -> None:
    masks = np.random.default_rng(0).standard_normal((SAMPLES, 8, 6, 6)).astype(np.float32)
    both = metric(masks=masks)
    rows = both.rows({"y": ORIGINAL, "masks": -masks}, {"y": ORIGINAL, "masks": masks})
    np.testing.assert_allclose(rows, 0.0, atol=1e-6)  # (1 - 1) / 2


def test_outputs_without_detections_are_refused() -> None:
    scores = np.random.default_rng(0).standard_normal((SAMPLES, 10)).astype(np.float32)
    with pytest.raises(MetricError, match="scores and boxes side by side that finds something, not output 'y'"):
        resolve_metric("detections", outputs={"y": scores}, labels=None)
