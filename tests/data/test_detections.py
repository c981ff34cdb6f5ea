"""Outputs that hold detections: which columns are what, and how far two of them differ."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from autocompress.data.detections import ConstantDeviances, detection_layout, deviances, may_hold_detections

RNG = np.random.default_rng(3)
PLACES, CLASSES, SAMPLES = 200, 5, 6


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def detector(objectness=True, seed=0):
    """Boxes, objectness and classes: noise everywhere but at a few places."""
    rng = np.random.default_rng(seed)
    found = rng.random((SAMPLES, PLACES)) < 0.03
    boxes = rng.standard_normal((SAMPLES, PLACES, 4)) * 50 + 100
    kind = rng.integers(0, CLASSES, (SAMPLES, PLACES))
    own = (np.arange(CLASSES) == kind[..., None]) & found[..., None]
    classes = sigmoid(np.where(own, 2.0, -4.0) + rng.standard_normal(own.shape) * 0.5)
    parts = [boxes, classes]
    if objectness:
        parts.insert(1, sigmoid(np.where(found, 2.5, -9.0) + rng.standard_normal(found.shape) * 0.3)[..., None])
    return np.concatenate(parts, -1).astype(np.float32)


def lost(original, changed):
    layout = detection_layout(original)
    constant = ConstantDeviances(layout)
    for part in np.array_split(original, 3):
        constant.add(part)
    divergence, squares = deviances(layout, original, changed, np)
    return divergence / constant.scores, squares / constant.numbers


def test_columns_of_a_detector_with_objectness():
    layout = detection_layout(detector())
    assert (layout.axis, layout.numbers, layout.objectness) == (2, (0, 1, 2, 3), 4)
    assert layout.scores == tuple(range(5, 5 + CLASSES))


@pytest.mark.parametrize("shape", [(SAMPLES, 4 + CLASSES, PLACES), (SAMPLES, 4 + CLASSES, 10, 20)])
def test_columns_of_a_detector_without_objectness(shape):
    """One class excludes the others, so the first class is not taken for objectness; columns may be on axis 1."""
    output = detector(objectness=False).swapaxes(1, 2).reshape(shape)
    layout = detection_layout(output)
    assert (layout.axis, layout.numbers, layout.objectness) == (1, (0, 1, 2, 3), None)
    assert layout.scores == tuple(range(4, 4 + CLASSES))


def softmax(x, axis):
    return np.exp(x) / np.exp(x).sum(axis, keepdims=True)


@pytest.mark.parametrize(
    "output",
    [
        softmax(RNG.standard_normal((6, 10)) * 3, 1),  # classes
        RNG.standard_normal((6, 30, 384)),  # a sentence, token by token
        softmax(RNG.standard_normal((6, 9, 20, 20)) * 6, 1),  # segmentation
        sigmoid(RNG.standard_normal((6, 1, 20, 20)) - 4),  # a mask
        np.clip(RNG.standard_normal((6, 3, 20, 20)) * 0.3 + [[[[0.5]], [[0.4]], [[0.05]]]], 0, 1),  # an image
        RNG.standard_normal((6, 3, 20, 20)) * 0.02 + 0.08,  # a dark image
        np.linspace(0.05, 1.1, 20) * RNG.uniform(0.1, 1, (6, 20, 20)),  # one that is dark at one side
        np.maximum(RNG.standard_normal((6, 64, 14, 14)) * 0.7 - np.linspace(0, 3, 64)[:, None, None], 0),  # ReLU
        RNG.standard_normal((6, 30, 85)),  # logits
        RNG.integers(0, 2, (6, 30, 85)),
        np.where(np.arange(9) < 4, detector(objectness=False), np.float32(0.001)),  # nothing is found
    ],
    ids=["classes", "tokens", "segmentation", "mask", "image", "dark", "half", "relu", "logits", "integers", "nothing"],
)
def test_all_other_outputs_are_none(output):
    output = output.astype(np.float32) if output.dtype.kind == "f" else output
    assert detection_layout(output) is None


def test_one_sample_that_cannot_be_of_a_detector_is_enough():
    assert may_hold_detections(detector()[:1])
    assert not may_hold_detections(RNG.standard_normal((1, 30, 85)).astype(np.float32))


def test_lost_deviance_by_the_formula():
    original = detector()
    changed = original.copy()
    changed[..., :4] += RNG.standard_normal(changed[..., :4].shape)
    changed[..., 4:] = np.clip(changed[..., 4:] * 0.8, 0, 1)
    s0, s = (np.clip(y[..., 4:5].astype(float) * y[..., 5:], 0.01, 0.99) for y in (original, changed))
    divergence = lambda p, q: (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).sum()  # noqa: E731
    w = (original[..., 4:5].astype(float) * original[..., 5:]).max(-1)[..., None]
    boxes = original[..., :4].astype(float)
    mean = (w * boxes).sum((0, 1)) / w.sum()
    expected = (w * (changed[..., :4] - boxes) ** 2).sum((0, 1)) / (w * (boxes - mean) ** 2).sum((0, 1))
    scores, numbers = lost(original, changed)
    assert scores == pytest.approx(divergence(s0, s) / divergence(s0, s0.mean((0, 1))), rel=1e-4)
    np.testing.assert_allclose(numbers, expected, rtol=1e-4)


def test_only_places_where_something_is_found_count():
    original = detector()
    found = original[..., 4] > 0.5
    spoilt = {}
    for name, places in (("background", ~found), ("objects", found)):
        changed = original.copy()
        changed[..., :4] += np.where(places[..., None], 30.0, 0.0)
        changed[..., 5:] = np.where(places[..., None], 1 - changed[..., 5:], changed[..., 5:])
        spoilt[name] = lost(original, changed)
    assert spoilt["background"][0] < 0.05 * spoilt["objects"][0]
    assert (spoilt["background"][1] < 0.05 * spoilt["objects"][1]).all()


def test_constants_lose_everything_and_false_alarms_show():
    original = detector()
    constant = np.broadcast_to(original.mean((0, 1)), original.shape).astype(np.float32)
    assert lost(original, constant)[0] == pytest.approx(1.0, abs=0.1)
    alarms = original.copy()
    alarms[:, ::5, 4:6] = 0.9
    assert lost(original, alarms)[0] > 1.0


def test_tensors_give_what_arrays_give_and_gradients():
    original, changed = detector(), detector(seed=1)
    layout = detection_layout(original)
    wanted = deviances(layout, original, changed, np)
    student = torch.tensor(changed, requires_grad=True)
    found = deviances(layout, torch.tensor(original), student, torch)
    assert float(found[0].detach()) == pytest.approx(float(wanted[0]), rel=1e-4)
    np.testing.assert_allclose(found[1].detach().numpy(), wanted[1], rtol=1e-4)
    (found[0] + found[1].sum()).backward()
    assert torch.isfinite(student.grad).all()
    assert student.grad[..., :5].abs().amax() > 0
