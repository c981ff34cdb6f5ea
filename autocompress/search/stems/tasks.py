"""What workers do for stems: list places, look at stems that nothing was learnt for yet, and make them for good."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from autocompress.errors import CandidateFailed, DataError, ModelError, RecipeError, RuntimeFailure
from autocompress.files import write_bytes
from autocompress.graph.channels import ChannelAnalysis, ChannelGroup, analyse_channels
from autocompress.graph.model import model_bytes
from autocompress.graph.shapes import fix_shapes
from autocompress.passes.decompose import DecomposePayload, candidate_ranks, decomposable_layers, decompose
from autocompress.passes.decompose import resolve as resolve_factors
from autocompress.passes.decompose.methods import METHODS
from autocompress.passes.downsample import DownsampleConfig, downsample, find_image, smaller_sizes
from autocompress.passes.prune import (
    BATCH_NORM_SCALE,
    CRITERIA,
    PruneConfig,
    PrunePayload,
    candidate_widths,
    layer_scales,
    removed_units,
)
from autocompress.passes.prune.branches import without_branches
from autocompress.passes.prune.compensation import compensated
from autocompress.passes.prune.criteria import Scores, Scoring
from autocompress.passes.prune.moments import Reader, read_moments, readers_of
from autocompress.passes.prune.removal import without_units
from autocompress.passes.prune.select import kept_count, most_important
from autocompress.passes.quantize import QuantizeConfig
from autocompress.passes.recover import expected_seconds
from autocompress.recipe.freezer import checkpoint_path
from autocompress.recipe.recipe import Recipe
from autocompress.recipe.steps import Effort
from autocompress.runtimes.protocol import ExecutedOp
from autocompress.search.progress_file import ProgressFile
from autocompress.search.stems.cores import all_cores
from autocompress.search.stems.looking import executed, float_damage, quantized
from autocompress.search.stems.options import Place
from autocompress.search.tasks import bench
from autocompress.search.workbench import Workbench

_KEPT_BYTES = 256 * 1024 * 1024  # of second moments, in each process
_STRONGEST = 0.75  # of channels, or of the rank: what loses more is beyond recovery


@dataclass(frozen=True)
class Look:
    """A stem in which nothing was recovered but the layers that read pruned channels, each alone.

    Attributes:
        ops: of its quantized form, as executed.
        damage: at the output, against the original; inf where it gives no finite numbers; 0 where nobody asked.
    """

    ops: tuple[ExecutedOp, ...]
    damage: float


@dataclass(frozen=True)
class MadeStem:
    """A stem, ready to be quantized.

    Attributes:
        path: of its model.
        elements: tensor -> elements per sample.
        damage: of the float model at the output.
        seconds: that making it took.
    """

    path: str
    elements: dict[str, int]
    damage: float
    seconds: float


def places(methods: Sequence[str], with_channels: bool) -> list[Place]:
    """Where the original can be made smaller.

    Args:
        methods: of decomposition.
        with_channels: whether channels may go.
    """
    tools = bench()
    model = tools.builder.prepared
    found: list[Place] = []
    for group in tools.channels.groups if with_channels else ():
        widths = [w for w in candidate_widths(group) if w >= group.size * (1 - _STRONGEST)]
        ratios = [1.0 - width / group.size for width in widths]
        found.append(Place(group.name, "", group.size, tuple(r for r in ratios if kept_count(group, r))))
    layers, _ = decomposable_layers(model) if methods else ({}, {})
    for layer in layers.values():
        for method in methods:
            ranks = candidate_ranks(layer, method)
            highest = max((max(r) for r in ranks), default=0)
            strong = [r for r in ranks if max(r) >= highest * (1 - _STRONGEST)]
            full = max(METHODS[method].full_ranks(layer)) if strong else 0
            found.append(Place(layer.name, method, full, tuple(r[0] if len(r) == 1 else (r[0], r[1]) for r in strong)))
    return [place for place in found if place.choices]


@dataclass(frozen=True)
class ImageSizes:
    """At which sizes the original may read its image.

    Attributes:
        full: height and width of the image as it comes in.
        smaller: what to look at, the most promising first.
    """

    full: tuple[int, int]
    smaller: list[DownsampleConfig]


def image_sizes() -> ImageSizes | str:
    """Sizes of a smaller image inside the original, or one clause that says why there are none."""
    tools = bench()
    bound = fix_shapes(tools.builder.prepared, {name: array.shape for name, array in tools.timing_feeds.items()})
    declared, image = find_image(tools.builder.prepared), find_image(bound)
    if isinstance(declared, str) or isinstance(image, str):
        return str(declared if isinstance(declared, str) else image)
    if image.height is None or image.width is None:
        return f"the size of its image ({image.name!r}) is not known"
    full = image.height, image.width
    sizes = smaller_sizes(*full)
    if not sizes:
        return f"its image has only {image.height} x {image.width} pixels"
    try:
        downsample(bound, DownsampleConfig(*sizes[-1]))
    except RecipeError as error:
        return str(error).removeprefix("downsample step: ").removesuffix("; leave the step out")
    is_fixed = declared.height is not None and declared.width is not None
    return ImageSizes(full, [DownsampleConfig(*size, *(0, 0) if is_fixed else full) for size in sizes])


def groups_with_scale() -> tuple[int, int]:
    """How many groups of channels have a batch normalization whose scales can be read, and how many there are."""
    tools = bench()
    scales, groups = layer_scales(tools.unfolded), tools.channels.groups
    return sum(any(m.role == "output" and m.node in scales for m in group.members) for group in groups), len(groups)


def has_training_labels() -> bool:
    """Whether the samples that stems are trained with have labels."""
    return bool(bench().calibration_source.has_labels)


def look(stem: Recipe, config: QuantizeConfig | None, samples: int) -> Look:
    """Prices a stem's quantized form and measures the float damage, without learning more than a criterion needs.

    Args:
        stem: downsample, decompose and prune count.
        config: how to quantize; None prices nothing.
        samples: of the search part, for the damage; 0 measures none.

    Raises:
        CandidateFailed: when the stem cannot be made or run.
    """
    tools = bench()
    try:
        model = _changed(tools, stem, exact=samples > 0)
        ops = () if config is None else executed(tools, quantized(tools, model, config))
        return Look(ops, float_damage(tools, model, samples) if samples else 0.0)
    except (RecipeError, ModelError, DataError, RuntimeFailure) as error:
        raise CandidateFailed(f"the model cannot be changed so: {error}") from error


def make(stem: Recipe, samples: int, deadline_s: float | None, told: Path | None) -> MadeStem:
    """Makes a stem for all workers: learns what its steps need, calibrates it, and keeps its model.

    Args:
        stem: the steps.
        samples: of the search part, for the damage.
        deadline_s: seconds that training may take.
        told: file that says meanwhile how far it is.

    Raises:
        CandidateFailed: when it cannot be made, or its outputs are not finite.
    """
    tools = bench()
    begin = time.monotonic()
    folder = Path(tools.spec.stems)
    folder.mkdir(parents=True, exist_ok=True)
    effort = Effort(None if told is None else ProgressFile(told), deadline_s, checkpoint_path(folder, stem))
    try:
        with all_cores(deadline_s is not None):
            payloads = tools.freezer.payloads(stem, effort)
        form = tools.builder.form(stem, payloads)
        damage = float_damage(tools, form.model, samples)
        if not np.isfinite(damage):
            raise CandidateFailed("its outputs are not finite")
        statistics = tools.freezer.statistics(stem)
        path = folder / f"{stem.hash}.onnx"
        write_bytes(path, model_bytes(form.model))
    except (RecipeError, ModelError, DataError, RuntimeFailure) as error:
        raise CandidateFailed(str(error)) from error
    elements = {name: values.count // max(values.samples, 1) for name, values in statistics.items()}
    return MadeStem(str(path), elements, damage, time.monotonic() - begin)


def expected_recovery_s(stem: Recipe, hurried: bool) -> float:
    """Seconds that the training of a stem will take here, from a timed step.

    Args:
        stem: with a recover step that trains.
        hurried: whether it will have a deadline, and then all processors.

    Raises:
        CandidateFailed: when it cannot be trained.
    """
    tools = bench()
    assert stem.recover is not None
    before = stem.before("recover")
    try:
        student = tools.builder.form(before, tools.freezer.payloads(before)).model
        # What the closed form takes is known already: every stem begins with it.
        config = replace(stem.recover, closed_form=False)
        with all_cores(hurried):
            return expected_seconds(student, tools.builder.prepared, config, tools.samples.batches, timed_steps=1)
    except (RecipeError, ModelError, DataError, RuntimeFailure) as error:
        raise CandidateFailed(str(error)) from error


def _changed(tools: Workbench, stem: Recipe, *, exact: bool) -> onnx.ModelProto:
    """The stem's model; where only shapes count, any channels stay and factors are those of the weights alone."""
    model = tools.builder.prepared
    if stem.downsample is not None:
        model = downsample(model, stem.downsample)
    if stem.decompose is not None:
        config = stem.decompose if exact else replace(stem.decompose, whitened=False)
        payload: DecomposePayload = resolve_factors(model, config, tools.samples.batches)
        model = decompose(model, config, payload)
    if stem.prune is None:
        return model
    if stem.prune.branches:
        model = without_branches(model, stem.prune.branches)
    analysis = tools.channels if model is tools.builder.prepared else analyse_channels(model)
    scores = _scores(tools, model, analysis, stem.prune) if exact else {}
    kept = {}
    for name, ratio in stem.prune.ratios:
        group = analysis.group(name)
        if group is None:
            raise RecipeError(f"prune step: the model has no group {name!r}")
        count = kept_count(group, ratio)
        kept[name] = most_important(analysis, group, scores[name], count) if exact else np.arange(count)
    removed = removed_units(analysis, stem.prune, PrunePayload(kept))
    if not exact:
        return without_units(model, analysis, removed)
    groups = [group for group in analysis.groups if group.name in kept]
    readers = _readers(tools, model, groups)
    return compensated(model, analysis, removed, readers)


def _readers(tools: Workbench, model: onnx.ModelProto, groups: Sequence[ChannelGroup]) -> dict[str, Reader]:
    """Moments of the layers that read groups; of the prepared model each is taken once, as far as memory goes."""
    layers = readers_of(model, groups)
    if model is not tools.builder.prepared:
        return read_moments(model, layers, tools.samples.batches)
    missing = {name: layer for name, layer in layers.items() if name not in tools.readers}
    found = {**tools.readers, **read_moments(model, missing, tools.samples.batches)}
    if sum(reader.gram.nbytes for reader in found.values()) <= _KEPT_BYTES:
        tools.readers.update(found)
    return {name: found[name] for name in layers}


def _scores(tools: Workbench, model: onnx.ModelProto, analysis: ChannelAnalysis, config: PruneConfig) -> Scores:
    """Importance of channels: of the prepared model's once for all groups, else of those that are asked for."""
    batches, criterion = tools.samples.batches, CRITERIA[config.criterion]
    reads_scales = config.criterion == BATCH_NORM_SCALE
    if model is not tools.builder.prepared or reads_scales:
        losing = {name for name, _ in config.ratios}
        groups = tuple(group for group in analysis.groups if group.name in losing)
        unfolded = tools.unfolded if reads_scales else None
        return criterion(Scoring(model, analysis, groups, batches, original=unfolded))
    if config.criterion not in tools.scores:
        tools.scores[config.criterion] = criterion(Scoring(model, analysis, analysis.groups, batches))
    return tools.scores[config.criterion]
