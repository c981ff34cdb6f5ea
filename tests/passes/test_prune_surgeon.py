"""Losses of removed channels when readers are solved anew, against least squares on the same rows."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from autocompress.errors import DataError
from autocompress.graph.channels import ChannelGroup, analyse_channels
from autocompress.graph.index import GraphIndex
from autocompress.passes.decompose.patches import patch_rows
from autocompress.passes.prune import CRITERIA, PruneConfig, resolve
from autocompress.passes.prune.compensation import compensated
from autocompress.passes.prune.criteria import Scoring
from autocompress.passes.prune.moments import column_units, in_portions, read_moments, readers_of
from autocompress.passes.prune.removal import without_units
from autocompress.passes.prune.surgery import removal_losses

sys.path.append(str(Path(__file__).parent))
from layer_graphs import LayerGraph, batches_of, run, samples
from prune_patterns import attention, conv, depthwise, image, neurons, residual


def built(make: object, seed: int = 0) -> onnx.ModelProto:
    graph = LayerGraph(seed)
    make(graph)  # type: ignore[operator]
    return graph.model()


def inner(graph: LayerGraph) -> None:
    x = graph.op("Relu", conv(graph, image(graph), 3, 10))
    graph.output(conv(graph, x, 10, 6))


def reader_rows(model: onnx.ModelProto, name: str, feeds: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """What a convolution reads, as rows with a one at the end, and its outputs before the bias."""
    index = GraphIndex(model)
    node = index.nodes[name]
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    del shown.graph.output[:]
    shown.graph.output.append(onnx.helper.make_tensor_value_info(node.input[0], 1, None))
    weight = index.weight(node.input[1])
    rows = patch_rows(node, weight.shape[2:], run(shown, feeds)).astype(np.float64)
    return np.hstack([rows, np.ones((len(rows), 1))]), rows @ weight.reshape(len(weight), -1).T.astype(np.float64)


def test_losses_are_those_of_least_squares() -> None:
    model, feeds = built(inner), samples(built(inner), 24)
    group = analyse_channels(model).groups[0]
    reader = read_moments(model, readers_of(model, [group]), batches_of(feeds))[group.readers[0]]
    losses = removal_losses([(reader, column_units(group, reader.layer))], group.size)
    rows, wanted = reader_rows(model, group.readers[0], feeds)
    power = np.square(wanted - wanted.mean(axis=0)).sum()
    order = np.argsort(losses)
    assert (np.diff(losses[order]) >= 0).all()
    for removed in (1, 4, 8):
        units = np.setdiff1d(np.arange(group.size), order[:removed])
        columns = np.append((units[:, None] * 9 + np.arange(9)).ravel(), rows.shape[1] - 1)
        fitted = rows[:, columns] @ np.linalg.lstsq(rows[:, columns], wanted, rcond=None)[0]
        error = np.square(wanted - fitted).sum() / power
        assert losses[order[removed - 1]] == pytest.approx(error, rel=0.1, abs=2e-3)


def test_the_first_to_go_is_the_one_that_others_replace() -> None:
    """A copy of another channel costs nothing, although it is as large as that."""
    graph = LayerGraph()
    weight = graph.rng.standard_normal((6, 3, 3, 3)).astype(np.float32)
    weight[4] = 2 * weight[1]
    x = graph.op("Conv", image(graph), graph.constant(weight), pads=[1] * 4)
    graph.output(conv(graph, x, 6, 5))
    model = graph.model()
    feeds = samples(model, 12)
    name = analyse_channels(model).groups[0].name
    lost = set(range(6)) - set(resolve(model, PruneConfig(((name, 1 / 6),), "surgeon"), batches_of(feeds)).kept[name])
    assert lost <= {1, 4}
    by_norm = resolve(model, PruneConfig(((name, 1 / 6),), "l2"), batches_of(feeds)).kept[name]
    assert lost != set(range(6)) - set(by_norm)


@pytest.mark.parametrize("pattern", [residual, depthwise, neurons, attention], ids=lambda f: f.__name__)
def test_compensated_models_are_nearer_to_the_original(pattern: object) -> None:
    model = built(pattern)
    feeds = samples(model, 24)
    analysis = analyse_channels(model)
    groups: list[ChannelGroup] = [g for g in analysis.groups if readers_of(model, [g])]
    scores = CRITERIA["surgeon"](Scoring(model, analysis, tuple(groups), batches_of(feeds)))
    removed = {g.name: np.argsort(scores[g.name])[: g.size // 2] for g in groups}
    readers = read_moments(model, readers_of(model, groups), batches_of(feeds))
    wanted = run(model, feeds)
    solved, plain = compensated(model, analysis, removed, readers), without_units(model, analysis, removed)
    assert [list(w.dims) for w in solved.graph.initializer] == [list(w.dims) for w in plain.graph.initializer]
    errors = [np.square(run(m, feeds) - wanted).sum() for m in (solved, plain)]
    assert errors[0] < 0.9 * errors[1]


def test_a_full_model_is_not_changed_by_compensation() -> None:
    model = built(residual)
    feeds = samples(model, 4)
    analysis = analyse_channels(model)
    readers = read_moments(model, readers_of(model, analysis.groups), batches_of(feeds))
    np.testing.assert_array_equal(run(compensated(model, analysis, {}, readers), feeds), run(model, feeds))


def test_units_that_only_products_read_count_by_their_magnitudes() -> None:
    model = built(attention)
    feeds = samples(model, 8)
    analysis = analyse_channels(model)
    places = next(g for g in analysis.groups if not readers_of(model, [g]))
    scores = CRITERIA["surgeon"](Scoring(model, analysis, (places,), batches_of(feeds)))[places.name]
    assert scores.max() == pytest.approx(1.0) and (scores > 0).all()
    by_activation = CRITERIA["activation"](Scoring(model, analysis, (places,), batches_of(feeds)))[places.name]
    assert np.argsort(scores).tolist() == np.argsort(by_activation).tolist()


def test_portions_keep_to_the_memory_they_may_have() -> None:
    model = built(residual)
    groups = analyse_channels(model).groups
    assert [len(own) for own in in_portions(model, groups, 1)] == [1, 1]
    assert [len(own) for own in in_portions(model, groups, 10**9)] == [2]


def test_samples_that_are_not_finite_are_refused() -> None:
    model = built(inner)
    feeds = {name: np.full_like(values, np.nan) for name, values in samples(model, 2).items()}
    with pytest.raises(DataError, match="NaN"):
        read_moments(model, readers_of(model, analyse_channels(model).groups), batches_of(feeds))
