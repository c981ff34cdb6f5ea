"""Equalization as a step of a recipe: which of the passes run, in which order, and what changes by them.

    cross_layer     equal weight ranges, then (with ``absorb``) high biases moved on; data-free but for bounds
    smooth          SmoothQuant
    awq             finer steps for the weights that meet large activations, for weights in blocks

``EQUALIZATIONS`` lists the forms that a search may choose from, by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any

from onnx import ModelProto

from autocompress.calibration.statistics import Statistics
from autocompress.errors import ConfigError, RecipeError
from autocompress.passes.config_rows import refuse_unknown
from autocompress.passes.equalize.apply import apply_scales
from autocompress.passes.equalize.awq import AwqConfig, protect_salient
from autocompress.passes.equalize.bias_absorption import absorb_high_biases
from autocompress.passes.equalize.changed import changed_channels
from autocompress.passes.equalize.cross_layer import CLIPS, CrossLayerConfig, equalize
from autocompress.passes.equalize.equalized import EqualizePayload
from autocompress.passes.equalize.insertion import multiplications
from autocompress.passes.equalize.moments import InputMoments
from autocompress.passes.equalize.smooth import SmoothConfig, smooth

CROSS_LAYER, SMOOTH, AWQ = "cross_layer", "smooth", "awq"
_FIELDS = {
    CROSS_LAYER: ("kind", "clips", "absorb"),
    SMOOTH: ("kind", "alpha", "where"),
    AWQ: ("kind", "weight_dtype", "block_size", "where"),
}


@dataclass(frozen=True)
class EqualizeConfig:
    """Configuration of the step; fields that do not belong to its kind keep their defaults.

    Attributes:
        kind: "cross_layer", "smooth" or "awq".
        clips: cross-layer: "skip", "within" or "unbound" (see ``cross_layer``).
        absorb: cross-layer: whether high biases are absorbed afterwards (see ``bias_absorption``).
        alpha: smooth: in [0, 1], or None to choose it for each group (see ``smooth``).
        where: smooth and awq: who divides the activations (see ``input_scaling``).
        weight_dtype: awq: of the weights to come (see ``awq``).
        block_size: awq: weights to come that share a scale.

    Raises:
        RecipeError: when a field has a value that it cannot have.
    """

    kind: str
    clips: str = "within"
    absorb: bool = True
    alpha: float | None = None
    where: tuple[str, ...] = ("norm", "layer")
    weight_dtype: str = "int4"
    block_size: int = 32

    def __post_init__(self) -> None:
        if self.kind not in _FIELDS:
            raise RecipeError(f"equalize step: kind is {self.kind!r}; it must be one of {', '.join(_FIELDS)}")
        if not isinstance(self.absorb, bool):
            raise RecipeError(f"equalize step: absorb is {self.absorb!r}; it must be true or false")
        for field in fields(self):
            if field.name not in _FIELDS[self.kind] and getattr(self, field.name) != field.default:
                raise RecipeError(f"equalize step: {field.name} does not belong to {self.kind!r}; leave it out")
        try:
            CrossLayerConfig(clips=self.clips)
            SmoothConfig(alpha=self.alpha, where=self.where)
            AwqConfig(self.weight_dtype, self.block_size, where=self.where)
        except (ConfigError, TypeError) as error:
            raise RecipeError(f"equalize step: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form, without the fields of the other kind."""
        row = {name: getattr(self, name) for name in _FIELDS[self.kind]}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in row.items()}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> EqualizeConfig:
        """Inverse of ``to_dict``.

        Raises:
            RecipeError: on an unknown field or value.
        """
        refuse_unknown(cls, row, "equalize")
        if "kind" not in row:
            raise RecipeError(f"equalize step: kind is missing; it must be one of {', '.join(_FIELDS)}")
        where = row.get("where", ("norm", "layer"))
        if not isinstance(where, (list, tuple)) or not all(isinstance(place, str) for place in where):
            raise RecipeError(f"equalize step: where is {where!r}; it must be a list of places")
        return cls(**{**row, "where": tuple(where)})


EQUALIZATIONS: Mapping[str, EqualizeConfig | None] = MappingProxyType(
    {
        "none": None,
        "cross_layer": EqualizeConfig(CROSS_LAYER),
        "cross_layer_unbound": EqualizeConfig(CROSS_LAYER, clips=CLIPS[-1]),
        "smooth": EqualizeConfig(SMOOTH),
        "smooth_insert": EqualizeConfig(SMOOTH, where=("norm", "layer", "insert")),
        "awq": EqualizeConfig(AWQ),
    }
)
"""Name of a choice -> its configuration; "none" leaves the model as it is."""


def resolve(model: ModelProto, config: EqualizeConfig, statistics: Statistics) -> EqualizePayload:
    """What the step takes from weights and data; empty where there is nothing to equalize.

    Args:
        model: normalized and folded; not changed.
        config: see there.
        statistics: of the model's activations, with channels.
    """
    if config.kind == SMOOTH:
        return smooth(model, statistics, SmoothConfig(alpha=config.alpha, where=config.where)).payload
    if config.kind == AWQ:
        chosen = AwqConfig(config.weight_dtype, config.block_size, where=config.where)
        return protect_salient(model, _moments(statistics), chosen).payload
    scaled = equalize(model, statistics, CrossLayerConfig(clips=config.clips))
    if not config.absorb:
        return scaled.payload
    moved = absorb_high_biases(scaled.model, _with_channels(model, scaled.payload, statistics))
    return replace(scaled.payload, shifts=moved.payload.shifts)


def apply(model: ModelProto, payload: EqualizePayload) -> ModelProto:
    """The equalized model, always the same bytes.

    Raises:
        RecipeError: the payload does not fit the model.
    """
    return apply_scales(model, payload)


def is_empty(payload: EqualizePayload) -> bool:
    """Whether a payload changes nothing."""
    return not (payload.unbounded or payload.scales or payload.inserted or payload.shifts)


def inserted_nodes(equalized: ModelProto, payload: EqualizePayload) -> tuple[str, ...]:
    """Names of the nodes that the payload added, which must not be quantized themselves."""
    return multiplications(equalized, payload.inserted)


def changed_tensors(model: ModelProto, payload: EqualizePayload, statistics: Statistics) -> frozenset[str] | None:
    """Tensors whose values the payload changes; None where a removed bound may change any.

    Args:
        model: that the payload was made for.
        payload: of the step.
        statistics: of ``model``.
    """
    return None if payload.unbounded else frozenset(changed_channels(model, payload, statistics))


def _moments(statistics: Statistics) -> dict[str, InputMoments]:
    """Of every tensor whose channels are known."""
    known = {name: statistics[name].channels for name in statistics}
    return {name: InputMoments.from_channels(found) for name, found in known.items() if found is not None}


def _with_channels(model: ModelProto, payload: EqualizePayload, statistics: Statistics) -> Statistics:
    """The statistics with exact channels for what the payload changed (other fields are those of before)."""
    known = changed_channels(model, payload, statistics)
    changed = {name: replace(statistics[name], channels=found) for name, found in known.items() if name in statistics}
    return statistics.with_tensors(changed)
