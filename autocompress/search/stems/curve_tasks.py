"""What workers do for sensitivity curves: change one place, run the model, say what was lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from autocompress.errors import CandidateFailed, DataError, MetricError, ModelError, RecipeError, RuntimeFailure
from autocompress.evaluate.evaluator import evaluate, evaluate_reference
from autocompress.graph.channels import ChannelGroup
from autocompress.graph.index import GraphIndex
from autocompress.graph.model import model_bytes
from autocompress.passes.decompose import DecomposeConfig, DecomposePayload, decomposable_layers, decompose
from autocompress.passes.decompose.config import Rank, ranks_of
from autocompress.passes.decompose.energy import rank_energy
from autocompress.passes.decompose.grams import stream_grams
from autocompress.passes.decompose.layers import DoubleArray, Layer
from autocompress.passes.decompose.resolve import factors_of
from autocompress.passes.prune.compensation import compensated
from autocompress.passes.prune.moments import Reader, read_moments, readers_of
from autocompress.passes.prune.removal import without_units
from autocompress.passes.prune.select import kept_count, most_important
from autocompress.search.stems.channel_scores import channel_scores
from autocompress.search.stems.looking import float_damage
from autocompress.search.tasks import bench
from autocompress.search.workbench import Workbench


@dataclass(frozen=True)
class SampleCounts:
    """How many samples of the search part to look at.

    Attributes:
        damage: for the damage.
        drop: for the accuracy; 0 measures none.
    """

    damage: int
    drop: int = 0


@dataclass(frozen=True)
class Effect:
    """What one change does.

    Attributes:
        damage: at the output, with nothing recovered; inf where it gives no finite numbers.
        compensated: damage once the layers that read the channels are solved anew; None for ranks.
        drop: accuracy lost, of channels once those layers are solved anew; None where none was measured.
        energy: kept by a rank; None for channels.
    """

    damage: float
    compensated: float | None = None
    drop: float | None = None
    energy: float | None = None


@dataclass(frozen=True)
class Judge:
    """What accuracy is measured by.

    Attributes:
        metric: its name.
        is_fraction: whether 1 % of it means 0.01.
        notices: sentences a person should read.
    """

    metric: str
    is_fraction: bool
    notices: tuple[str, ...]


def begin() -> Judge:
    """Records the outputs of the original for all workers, and settles the metric.

    Raises:
        ModelError: when its outputs are not finite, or the runtime refuses or fails to run it.
        DataError, MetricError: when data or metric do not fit it.
    """
    tools = bench()
    try:
        tools.record_reference()
    except RuntimeFailure as error:
        raise ModelError(f"the runtime cannot run the model on this data: {error}") from error
    notices = dict.fromkeys([*tools.source.notices, *tools.metric.notices])
    return Judge(tools.metric.name, tools.metric.is_fraction, tuple(notices))


def try_criterion(criterion: str) -> None:
    """Scores all channels by a criterion.

    Raises:
        CandidateFailed: when it cannot judge this model.
    """
    try:
        channel_scores(bench(), criterion)
    except (RecipeError, ModelError, DataError, RuntimeFailure) as error:
        raise CandidateFailed(str(error)) from error


def width_effects(
    group: str, ratios: Sequence[float], criteria: Sequence[str], counts: SampleCounts
) -> list[list[Effect]]:
    """Effects of removing channels of one group: for each criterion those of all ratios.

    Raises:
        CandidateFailed: when a smaller model cannot be made or run.
    """
    tools = bench()
    model = tools.builder.prepared
    try:
        found = tools.channels.group(group)
        if found is None:
            raise RecipeError(f"the model has no group of channels {group!r}")
        readers = read_moments(model, readers_of(model, [found]), tools.samples.batches)
        return [[_width_effect(tools, found, ratio, name, readers, counts) for ratio in ratios] for name in criteria]
    except (RecipeError, ModelError, DataError, MetricError, RuntimeFailure) as error:
        raise CandidateFailed(str(error)) from error


def rank_effects(layer: str, choices: Sequence[tuple[str, Rank]], counts: SampleCounts) -> list[Effect]:
    """Effects of decomposing one layer, whitened, by several methods and ranks.

    Args:
        layer: name of its node.
        choices: (method, rank).
        counts: of samples.

    Raises:
        CandidateFailed: when a smaller model cannot be made or run.
    """
    tools = bench()
    model = tools.builder.prepared
    try:
        found = decomposable_layers(model)[0][layer]
        ((_, gram),) = stream_grams(model, [found], tools.samples.batches)
        return [_rank_effect(tools, found, method, rank, gram, counts) for method, rank in choices]
    except (RecipeError, ModelError, DataError, MetricError, RuntimeFailure) as error:
        raise CandidateFailed(str(error)) from error


def _width_effect(
    tools: Workbench,
    group: ChannelGroup,
    ratio: float,
    criterion: str,
    readers: dict[str, Reader],
    counts: SampleCounts,
) -> Effect:
    model, analysis = tools.builder.prepared, tools.channels
    scores = channel_scores(tools, criterion)[group.name]
    kept = most_important(analysis, group, scores, kept_count(group, ratio))
    removed = {group.name: np.setdiff1d(np.arange(group.size), kept)}
    plain = float_damage(tools, without_units(model, analysis, removed), counts.damage)
    solved = compensated(model, analysis, removed, readers)
    damage = float_damage(tools, solved, counts.damage)
    return Effect(plain, damage, _drop(tools, solved, damage, counts))


def _rank_effect(
    tools: Workbench, layer: Layer, method: str, rank: Rank, gram: DoubleArray, counts: SampleCounts
) -> Effect:
    model, ranks = tools.builder.prepared, ranks_of(rank)
    factors = factors_of(layer, GraphIndex(model), method, ranks, gram)
    config = DecomposeConfig(((layer.name, method, rank),))
    smaller = decompose(model, config, DecomposePayload({layer.name: factors}, {}))
    curves = rank_energy(model, layer, method, gram)
    energy = min(float(curve[number - 1]) for curve, number in zip(curves, ranks, strict=True))
    damage = float_damage(tools, smaller, counts.damage)
    return Effect(damage, None, _drop(tools, smaller, damage, counts), energy)


def _drop(tools: Workbench, model: onnx.ModelProto, damage: float, counts: SampleCounts) -> float | None:
    """Accuracy that a model loses; None where none is to be measured, or its outputs are not finite."""
    if not counts.drop or not np.isfinite(damage):
        return None
    indices = tools.spec.split.search[: counts.drop]
    before = evaluate_reference(tools.reference, tools.source, indices, tools.metric)
    session = tools.load(model_bytes(model))
    after = evaluate(session, tools.source, indices, tools.metric, reference=tools.reference)
    lost = before.value - after.value
    return lost if tools.metric.higher_is_better else -lost
