"""Screening: whole-model candidates of every scheme are compared by output damage before any is evaluated."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from autocompress.passes.quantize import INT8, INT8_DYNAMIC, QuantizeConfig
from autocompress.search.space import SearchSpace

KERNEL_FIELDS = ("activation_dtype", "activation_symmetric", "weight_dtype", "weight_granularity")


@dataclass(frozen=True)
class Screened:
    """One scheme applied to the whole model.

    Attributes:
        config: the scheme.
        damage: its label-free output damage.
    """

    config: QuantizeConfig
    damage: float


def schemes(space: SearchSpace, kernels: Sequence[dict[str, object]]) -> list[QuantizeConfig]:
    """Every scheme of the space whose integer kernels are among ``kernels``, all units int8."""
    algorithms = {name: values for name, values in space.scheme.items() if name not in KERNEL_FIELDS}
    listed = []
    for kernel in kernels:
        for values in itertools.product(*algorithms.values()):
            chosen = dict(zip(algorithms, values, strict=True))
            listed.append(QuantizeConfig(precision=INT8, **kernel, **chosen))  # type: ignore[arg-type]
    return listed


def dynamic_schemes(space: SearchSpace, kernels: Sequence[dict[str, object]]) -> list[QuantizeConfig]:
    """Schemes with dynamic activation ranges: only the weight choices matter to them."""
    if INT8_DYNAMIC not in space.precision:
        return []
    return [
        QuantizeConfig(
            precision=INT8_DYNAMIC,
            weight_range=str(weight_range),
            activation_range=str(space.scheme["activation_range"][0]),
            bias_correction=bool(space.scheme["bias_correction"][0]),
            **kernel,  # type: ignore[arg-type]
        )
        for kernel in kernels
        for weight_range in space.scheme["weight_range"]
    ]


def kernel_choices(space: SearchSpace) -> list[dict[str, object]]:
    """Every combination of the choices that select integer kernels (and so decide speed)."""
    values = [space.scheme[name] for name in KERNEL_FIELDS]
    return [dict(zip(KERNEL_FIELDS, combination, strict=True)) for combination in itertools.product(*values)]


def best_schemes(screened: Sequence[Screened], keep: int) -> list[Screened]:
    """The least damaging schemes, best first; ties keep their order."""
    return sorted(screened, key=lambda s: s.damage)[:keep]
