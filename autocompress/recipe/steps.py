"""The steps that recipes are made of, in their fixed order: one entry each.

A step that makes a float model of a float model says how to resolve and to apply it.  Quantization and what follows it
share the quantizer of a model, so the builder applies those.  The steps up to ``recover`` make the stem
(docs/decisions/005-steps-of-a-recipe.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt
from onnx import ModelProto

from autocompress.calibration.statistics import Statistics
from autocompress.passes import decompose, downsample, prune, recover, sparsify
from autocompress.passes.equalize import step as equalize
from autocompress.passes.quantize import QuantizeConfig
from autocompress.passes.reconstruct import ReconstructConfig
from autocompress.progress import Progress
from autocompress.recipe import equalize_codec, quantize_codec, reconstruct_codec, stem_codecs
from autocompress.recipe.packed import Packed

Batches = Callable[[], Iterator[dict[str, npt.NDArray[np.generic]]]]
"""Calling it starts a new pass over the calibration part, unlabelled, in a fixed order."""


class StepConfig(Protocol):
    """The choices of one step, as data."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        ...

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Self:
        """Inverse of ``to_dict``; raises ``RecipeError``."""
        ...


@dataclass(frozen=True)
class Effort:
    """How long a step may learn, and who is told meanwhile.

    Attributes:
        progress: is told; None tells nobody.
        deadline_s: seconds that training may take; None lets it take as long as its configuration says.
        checkpoint: file by which an interrupted training goes on; None keeps none.
    """

    progress: Progress | None = None
    deadline_s: float | None = None
    checkpoint: Path | None = None


@dataclass(frozen=True)
class Evidence:
    """What a step may learn from, about the very model that it is given.

    Attributes:
        statistics: collects those of its activations.
        batches: the calibration samples.
        unlabelled: all samples that training may use.
        labels: gives the classes of those samples, in their order; None where there are none.
        unfolded: gives the original before batch normalization was folded; None where it is not at hand.
        original: the folded model that the recipe starts from, the teacher of recovery.
        effort: of steps that train.
    """

    statistics: Callable[[], Statistics]
    batches: Batches
    unlabelled: Batches
    original: ModelProto
    effort: Effort = field(default_factory=Effort)
    labels: Callable[[], npt.NDArray[Any] | None] = lambda: None
    unfolded: Callable[[], ModelProto] | None = None


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        name: in recipes, and of the field of ``Recipe`` that holds its configuration.
        config: its configuration.
        pack: payload -> what files hold.
        unpack: the inverse; may raise KeyError, TypeError, ValueError, IndexError, AttributeError or OverflowError.
        stem: whether it belongs to the stem: everything known about a model is then learnt anew.
        resolve: (float model, configuration, evidence) -> payload; None where the builder resolves it.
        apply: (float model, configuration, payload) -> float model; None where the builder applies it.
        stay_float: (model after the step, payload) -> nodes that must not be quantized.
    """

    name: str
    config: type[StepConfig]
    pack: Callable[[Any], Packed]
    unpack: Callable[[Packed], Any]
    stem: bool = False
    resolve: Callable[[ModelProto, Any, Evidence], Any] | None = None
    apply: Callable[[ModelProto, Any, Any], ModelProto] | None = None
    stay_float: Callable[[ModelProto, Any], tuple[str, ...]] = lambda model, payload: ()


def _resolve_recovery(model: ModelProto, config: Any, evidence: Evidence) -> Any:
    effort = evidence.effort
    return recover.resolve(
        model,
        evidence.original,
        config,
        evidence.unlabelled,
        progress=effort.progress,
        deadline_s=effort.deadline_s,
        labels=evidence.labels() if config.trains and config.label_weight > 0 else None,
        checkpoint=effort.checkpoint,
    )


def _resolve_pruning(model: ModelProto, config: Any, evidence: Evidence) -> Any:
    def recovered(smaller: ModelProto) -> ModelProto:
        closed = recover.RecoverConfig(level="closed_form")
        return recover.recover(smaller, closed, recover.resolve(smaller, evidence.original, closed, evidence.batches))

    read = evidence.unfolded if config.criterion == prune.BATCH_NORM_SCALE else None
    unfolded = None if read is None else read()
    return prune.resolve(model, config, evidence.batches, original=unfolded, recovered=recovered)


STEPS: tuple[Step, ...] = (
    Step(
        name="downsample",
        config=downsample.DownsampleConfig,
        pack=stem_codecs.pack_nothing,
        unpack=stem_codecs.unpack_downsample,
        stem=True,
        resolve=lambda model, config, evidence: downsample.DownsamplePayload(),
        apply=lambda model, config, payload: downsample.downsample(model, config),
    ),
    Step(
        name="decompose",
        config=decompose.DecomposeConfig,
        pack=stem_codecs.pack,
        unpack=stem_codecs.unpack_decompose,
        stem=True,
        resolve=lambda model, config, evidence: decompose.resolve(model, config, evidence.batches),
        apply=decompose.decompose,
    ),
    Step(
        name="prune",
        config=prune.PruneConfig,
        pack=stem_codecs.pack,
        unpack=stem_codecs.unpack_prune,
        stem=True,
        resolve=_resolve_pruning,
        apply=prune.prune,
    ),
    Step(
        name="sparsify",
        config=sparsify.SparsifyConfig,
        pack=stem_codecs.pack,
        unpack=stem_codecs.unpack_sparsify,
        stem=True,
        resolve=lambda model, config, evidence: sparsify.resolve(model, config, evidence.batches),
        apply=sparsify.sparsify,
    ),
    Step(
        name="recover",
        config=recover.RecoverConfig,
        pack=stem_codecs.pack_recover,
        unpack=stem_codecs.unpack_recover,
        stem=True,
        resolve=_resolve_recovery,
        apply=recover.recover,
    ),
    Step(
        name="equalize",
        config=equalize.EqualizeConfig,
        pack=equalize_codec.pack,
        unpack=equalize_codec.unpack,
        resolve=lambda model, config, evidence: equalize.resolve(model, config, evidence.statistics()),
        apply=lambda model, config, payload: equalize.apply(model, payload),
        stay_float=equalize.inserted_nodes,
    ),
    Step(name="quantize", config=QuantizeConfig, pack=quantize_codec.pack, unpack=quantize_codec.unpack),
    Step(name="reconstruct", config=ReconstructConfig, pack=reconstruct_codec.pack, unpack=reconstruct_codec.unpack),
)
STEP = {step.name: step for step in STEPS}
FLOAT_STEPS = tuple(step for step in STEPS if step.apply is not None)
STEM_STEPS = tuple(step for step in STEPS if step.stem)
