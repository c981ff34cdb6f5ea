"""The steps that recipes are made of, in their fixed order: one entry each.

A step that makes a float model of a float model says how to resolve and to apply it.  Quantization and what follows it
share the quantizer of a model, so the builder applies those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt
from onnx import ModelProto

from autocompress.calibration.statistics import Statistics
from autocompress.passes.equalize import step as equalize
from autocompress.passes.quantize import QuantizeConfig
from autocompress.passes.reconstruct import ReconstructConfig
from autocompress.recipe import equalize_codec, quantize_codec, reconstruct_codec
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
class Evidence:
    """What a step may learn from, about the very model that it is given.

    Attributes:
        statistics: of its activations.
        batches: the calibration samples.
    """

    statistics: Statistics
    batches: Batches


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
        apply: (float model, payload) -> float model; None where the builder applies it.
        stay_float: (model after the step, payload) -> nodes that must not be quantized.
    """

    name: str
    config: type[StepConfig]
    pack: Callable[[Any], Packed]
    unpack: Callable[[Packed], Any]
    stem: bool = False
    resolve: Callable[[ModelProto, Any, Evidence], Any] | None = None
    apply: Callable[[ModelProto, Any], ModelProto] | None = None
    stay_float: Callable[[ModelProto, Any], tuple[str, ...]] = lambda model, payload: ()


STEPS: tuple[Step, ...] = (
    Step(
        name="equalize",
        config=equalize.EqualizeConfig,
        pack=equalize_codec.pack,
        unpack=equalize_codec.unpack,
        resolve=lambda model, config, evidence: equalize.resolve(model, config, evidence.statistics),
        apply=equalize.apply,
        stay_float=equalize.inserted_nodes,
    ),
    Step(name="quantize", config=QuantizeConfig, pack=quantize_codec.pack, unpack=quantize_codec.unpack),
    Step(name="reconstruct", config=ReconstructConfig, pack=reconstruct_codec.pack, unpack=reconstruct_codec.unpack),
)
STEP = {step.name: step for step in STEPS}
FLOAT_STEPS = tuple(step for step in STEPS if step.apply is not None)
