import numpy as np
import pytest
from scipy import stats

from autocompress.evaluate import at_chance
from autocompress.evaluate.metrics import Mse, Spearman, Top1, Top5

TOP1 = Top1(outputs=("y",), needs_labels=True, classes=10)
TOP5 = Top5(outputs=("y",), needs_labels=True, classes=10)


@pytest.mark.parametrize(("metric", "chance"), [(TOP1, 0.1), (TOP5, 0.5)])
@pytest.mark.parametrize("n", [20, 500])
def test_agrees_with_the_binomial_distribution(metric, chance, n):
    for hits in range(n + 1):
        assert at_chance(hits / n, metric, 10, n) == (stats.binom.sf(hits - 1, n, chance) > 0.05)


def test_many_classes_and_none():
    assert at_chance(0.0, TOP1, 1000, 400)
    assert not at_chance(0.01, TOP1, 1000, 400)
    assert not at_chance(0.0, TOP1, None, 400)
    assert at_chance(1.0, TOP5, 5, 10)


def test_other_metrics():
    spearman = Spearman(outputs=("y",), needs_labels=True)
    assert at_chance(0.05, spearman, None, 100)
    assert not at_chance(0.5, spearman, None, 100)
    assert not at_chance(0.0, Top1(outputs=("y",), needs_labels=False, classes=10), 10, 100)
    assert not at_chance(np.inf, Mse(outputs=("y",), needs_labels=True), None, 100)
