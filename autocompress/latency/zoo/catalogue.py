"""Reads the architectures and builds their variants."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from autocompress.errors import ConfigError
from autocompress.latency.zoo.blocks import BLOCKS
from autocompress.latency.zoo.network import Network, Value, Variant
from autocompress.latency.zoo.sequences import SEQUENCE_BLOCKS

_ARCHITECTURES = Path(__file__).with_name("architectures.yaml")
_KINDS = {**BLOCKS, **SEQUENCE_BLOCKS}

VARIANTS: tuple[Variant, ...] = (
    Variant("fp32"),
    Variant("int8", int8_share=1.0),
    Variant("pruned_int8", int8_share=1.0, uneven=True, seed=1),
    Variant("pruned", uneven=True, seed=2),
    Variant("mixed", int8_share=0.6, every=2, seed=3),
    Variant("mixed_pruned", int8_share=0.5, uneven=True, width=0.9, every=3, seed=4),
    Variant("int8_signed", int8_share=1.0, activation_dtype="int8", every=2, seed=5),
    Variant("int8_per_tensor", int8_share=1.0, weight_dtype="uint8", per_channel=False, uneven=True, every=3, seed=6),
    Variant("int8_dynamic", int8_share=1.0, dynamic=True, seed=7),
    Variant("narrow", width=0.75, uneven=True, every=2, seed=8),
    Variant("narrow_int8", int8_share=1.0, width=0.75, uneven=True, every=2, seed=9),
)


@dataclass(frozen=True)
class Architecture:
    """One architecture as the catalogue describes it.

    Attributes:
        name: its name.
        family: families are held out together when predictors are judged.
        input: shape of its input.
        blocks: what it is made of, in order.
    """

    name: str
    family: str
    input: tuple[int, ...]
    blocks: tuple[Mapping[str, Any], ...]

    @property
    def is_sequence(self) -> bool:
        """Whether it has matrix products over sequences, which can be quantized dynamically."""
        return any(kind in block for block in self.blocks for kind in ("encoder", "fully_connected"))

    def build(self, variant: Variant) -> bytes:
        """The serialized model of one variant.

        Raises:
            ConfigError: when the catalogue names a block that does not exist.
        """
        net = Network(variant)
        x = net.input(self.input)
        kept: dict[str, Value] = {}
        for block in self.blocks:
            x = _built(net, x, block, kept, self.name)
        return net.model([x])


def architectures(path: Path = _ARCHITECTURES) -> list[Architecture]:
    """The catalogue, in file order.

    Raises:
        ConfigError: when it is malformed.
    """
    try:
        rows = yaml.safe_load(path.read_text(encoding="utf-8"))
        return [
            Architecture(name, str(row["family"]), tuple(int(s) for s in row["input"]), tuple(row["blocks"]))
            for name, row in rows.items()
        ]
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"cannot read the architectures in {path.name}: {error!r}") from error


def zoo_models(variants: tuple[Variant, ...] = VARIANTS) -> Iterator[tuple[Architecture, Variant]]:
    """Every architecture in every variant that makes sense for it."""
    for variant in variants:
        for position, architecture in enumerate(architectures()):
            wanted = (position + variant.seed) % variant.every == 0
            if wanted and (not variant.dynamic or architecture.is_sequence):
                yield architecture, variant


def _built(net: Network, x: Value, block: Mapping[str, Any], kept: dict[str, Value], where: str) -> Value:
    kind = next((key for key in block if key in _KINDS), None)
    if kind is None:
        raise ConfigError(f"architecture {where}: block {dict(block)} names none of {', '.join(_KINDS)}")
    options = {key: value for key, value in block.items() if key not in (kind, "repeat", "keep", "join")}
    for i in range(block.get("repeat", 1)):
        # Only the first of several blocks changes the resolution.
        x = _KINDS[kind](net, x, block[kind], options if i == 0 else {**options, "stride": 1})
    if "join" in block:
        other = kept[block["join"]]
        shape = (x.shape[0], x.shape[1] + other.shape[1], *x.shape[2:])
        x = net.op("Concat", [x, other], shape, integer=net.is_integer(), axis=1)
    if "keep" in block:
        kept[block["keep"]] = x
    return x
