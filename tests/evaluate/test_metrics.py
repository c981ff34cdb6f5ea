import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats
from sklearn.metrics import accuracy_score, jaccard_score, top_k_accuracy_score

from autocompress.errors import DataError
from autocompress.evaluate.metrics import Cosine, Kl, Miou, Mse, Psnr, Spearman, SpearmanWithin, Top1, Top5
from autocompress.evaluate.metrics.miou import resize_bilinear
from autocompress.evaluate.metrics.spearman import mean_ranks

RNG = np.random.default_rng(0)
LABELLED = {"outputs": ("y",), "needs_labels": True}
FIDELITY = {"outputs": ("y",), "needs_labels": False}


def value(metric, prediction, target):
    truth = {"labels" if metric.needs_labels else "y": target}
    return metric.finish(metric.rows({"y": prediction}, truth))


@pytest.mark.parametrize("shape", [(80, 7), (80, 7, 1, 1)])
def test_top_k_agrees_with_sklearn(shape):
    scores, labels = RNG.standard_normal(shape).astype(np.float32), RNG.integers(0, 7, 80)
    flat = scores.reshape(80, 7)
    assert value(Top1(classes=7, **LABELLED), scores, labels) == accuracy_score(labels, flat.argmax(1))
    expected = top_k_accuracy_score(labels, flat, k=5, labels=range(7))
    assert value(Top5(classes=7, **LABELLED), scores, labels) == expected


def test_ties_are_broken_as_argmax_does():
    scores = np.array([[1.0, 1.0, 0.0]] * 2)
    rows = Top1(classes=3, **LABELLED).rows({"y": scores}, {"labels": np.array([0, 1])})
    np.testing.assert_array_equal(rows[:, 0], [1, 0])
    tied = np.zeros((6, 6))
    rows = Top5(classes=6, **LABELLED).rows({"y": tied}, {"labels": np.arange(6)})
    np.testing.assert_array_equal(rows[:, 0], [1, 1, 1, 1, 1, 0])


def test_top1_of_binary_outputs_and_of_decisions():
    logits, labels = np.array([[-1.0], [0.2], [3.0]]), np.array([0, 1, 0])
    assert value(Top1(classes=2, kind="binary", **LABELLED), logits, labels) == pytest.approx(2 / 3)
    assert value(Top1(classes=2, kind="binary", threshold=0.5, **LABELLED), logits, labels) == pytest.approx(1 / 3)
    assert value(Top1(classes=4, kind="classes", **LABELLED), np.array([3, 1, 0]), np.array([3, 2, 0])) == 2 / 3


def test_top1_without_labels_is_agreement():
    original, candidate = RNG.standard_normal((2, 50, 4))
    expected = (original.argmax(1) == candidate.argmax(1)).mean()
    assert value(Top1(classes=4, **FIDELITY), candidate, original) == expected
    assert value(Top1(classes=4, **FIDELITY), original, original) == 1.0


def test_labels_outside_are_found_in_every_batch():
    with pytest.raises(DataError, match="Label 4"):
        value(Top1(classes=4, **LABELLED), np.zeros((2, 4)), np.array([0, 4]))


def test_mse_and_psnr():
    a, b = RNG.random((2, 5, 1, 6, 6))
    mse = ((a - b) ** 2).mean((1, 2, 3))
    assert value(Mse(**FIDELITY), a, b) == pytest.approx(mse.mean())
    assert value(Psnr(peak=1.0, **FIDELITY), a, b) == pytest.approx((10 * np.log10(1 / mse)).mean())
    assert value(Psnr(peak=1.0, **FIDELITY), a, a) == 100.0
    assert value(Psnr(peak=3.0, **FIDELITY), 3 * a, 3 * b) == pytest.approx((10 * np.log10(1 / mse)).mean())
    stored = (b * 255).round().astype(np.uint8)
    scaled = Psnr(peak=1.0, label_scale=1 / 255, clips=True, **LABELLED)
    expected = 10 * np.log10(1 / ((np.clip(a + 0.5, 0, 1) - stored / 255) ** 2).mean((1, 2, 3)))
    assert value(scaled, a + 0.5, stored) == pytest.approx(expected.mean())


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1e-30, 1.0, 1e30]))
def test_cosine_is_scale_free_and_bounded(seed, scale):
    a, b = np.random.default_rng(seed).standard_normal((2, 3, 8))
    expected = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    rows = Cosine(**FIDELITY).rows({"y": a * scale}, {"y": b})
    np.testing.assert_allclose(rows[:, 0], expected, atol=1e-12)


def test_cosine_of_zeros():
    a = np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    b = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    np.testing.assert_array_equal(Cosine(**FIDELITY).rows({"y": a}, {"y": b})[:, 0], [1, 0, 1])


def test_several_outputs_are_averaged_whatever_their_scales():
    metric = Cosine(outputs=("a", "b"), needs_labels=False)
    one, other = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    assert metric.finish(metric.rows({"a": 1e6 * one, "b": one}, {"a": 1e6 * one, "b": other})) == 0.5


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 1, 1), (6, 4, 5), (6, 5, 3, 3)])
@pytest.mark.parametrize("probabilities", [False, True])
def test_kl_agrees_with_scipy(shape, probabilities):
    axis = 2 if len(shape) == 3 else 1
    p, q = 5 * RNG.standard_normal((2, *shape))
    soft_p, soft_q = special.softmax(p, axis), special.softmax(q, axis)
    expected = stats.entropy(soft_p, soft_q, axis=axis).mean()
    given_p, given_q = (soft_p, soft_q) if probabilities else (p + 7, q - 3)
    assert value(Kl(probabilities=probabilities, **FIDELITY), given_q, given_p) == pytest.approx(expected)
    assert value(Kl(probabilities=probabilities, **FIDELITY), given_p, given_p) == pytest.approx(0.0, abs=1e-12)


def test_kl_of_binary_logits_and_hard_labels():
    p, q = RNG.standard_normal((2, 9, 1))
    both = [np.concatenate([1 - special.expit(v), special.expit(v)], axis=1) for v in (p, q)]
    assert value(Kl(**FIDELITY), q, p) == pytest.approx(stats.entropy(*both, axis=1).mean())
    logits, labels = RNG.standard_normal((9, 3)), np.eye(3)[RNG.integers(0, 3, 9)]
    cross_entropy = -special.log_softmax(logits, 1)[labels == 1].mean()
    assert value(Kl(**LABELLED), logits, labels) == pytest.approx(cross_entropy, abs=1e-6)


def test_miou_agrees_with_sklearn():
    scores, labels = RNG.standard_normal((6, 4, 8, 8)), RNG.integers(0, 4, (6, 8, 8))
    labels[0, :2] = 255
    labels[1, 0] = -1
    scored = (labels != 255) & (labels >= 0)
    expected = jaccard_score(labels[scored], scores.argmax(1)[scored], average="macro", labels=range(4))
    metric = Miou(classes=4, **LABELLED)
    assert value(metric, scores, labels) == pytest.approx(expected)
    assert value(metric, scores, labels[:, None]) == pytest.approx(expected)
    rows = np.concatenate([metric.rows({"y": scores[k : k + 2]}, {"labels": labels[k : k + 2]}) for k in (0, 2, 4)])
    assert metric.finish(rows) == pytest.approx(expected)


def test_miou_leaves_absent_classes_out_and_takes_masks_and_decisions():
    labels = np.zeros((1, 2, 2), int)
    scores = np.zeros((1, 3, 2, 2))
    scores[0, 2, 0, 0] = 1  # a stray pixel of an absent class
    assert value(Miou(classes=3, **LABELLED), scores, labels) == 0.75
    mask = np.array([[[[1.0, -1.0], [-1.0, 1.0]]]])
    assert value(Miou(classes=2, **LABELLED), mask, np.array([[[1, 0], [0, 0]]])) == pytest.approx((2 / 3 + 1 / 2) / 2)
    decided = np.array([[[0, 1], [2, 2]]])
    assert value(Miou(classes=3, **LABELLED), decided, decided) == 1.0
    assert value(Miou(classes=3, **FIDELITY), scores, scores) == 1.0
    assert value(Miou(classes=2, **LABELLED), np.zeros((1, 2, 2, 2)), np.full((1, 2, 2), 255)) == 0.0


@pytest.mark.parametrize("size", [(9, 13), (4, 5), (1, 1), (8, 10)])
def test_resizing_agrees_with_torch(size):
    torch = pytest.importorskip("torch")
    images = RNG.standard_normal((2, 3, 8, 10)).astype(np.float32)
    expected = torch.nn.functional.interpolate(torch.tensor(images), size, mode="bilinear", align_corners=False)
    np.testing.assert_allclose(resize_bilinear(images, size), expected.numpy(), atol=1e-5)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=2, max_size=20))
def test_ranks_agree_with_scipy(values):
    np.testing.assert_array_equal(mean_ranks(np.array(values)), stats.rankdata(values))


def test_spearman_agrees_with_scipy():
    prediction, labels = RNG.standard_normal((30, 1)), RNG.integers(0, 6, 30)
    metric = Spearman(**LABELLED)
    assert value(metric, prediction, labels) == pytest.approx(stats.spearmanr(prediction[:, 0], labels).statistic)
    assert value(metric, np.zeros((30, 1)), labels) == 0.0
    a, b = RNG.standard_normal((2, 4, 9))
    expected = np.mean([stats.spearmanr(x, y).statistic for x, y in zip(a, b, strict=True)])
    assert value(SpearmanWithin(**FIDELITY), a, b) == pytest.approx(expected)
    assert value(SpearmanWithin(**FIDELITY), a, a) == 1.0
