"""Reads the architectures and builds their variants."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from onnx import TensorProto

from autocompress.errors import ConfigError
from autocompress.latency.zoo.attention import ATTENTION_BLOCKS
from autocompress.latency.zoo.blocks import BLOCKS
from autocompress.latency.zoo.chains import CHAINS
from autocompress.latency.zoo.convolutional import CONVOLUTIONAL_BLOCKS
from autocompress.latency.zoo.heads import HEAD_BLOCKS
from autocompress.latency.zoo.network import Network, Value
from autocompress.latency.zoo.recurrence import RECURRENT_BLOCKS
from autocompress.latency.zoo.sequences import SEQUENCE_BLOCKS
from autocompress.latency.zoo.variant import PORTABLE_RUNTIMES, VARIANTS, Quantize, Variant, variants_for
from autocompress.latency.zoo.weight_only import with_small_weights
from autocompress.runtimes.protocol import Array

__all__ = ["VARIANTS", "Architecture", "architectures", "zoo_models"]

_ARCHITECTURES = Path(__file__).with_name("architectures.yaml")
_KINDS = {
    **BLOCKS, **SEQUENCE_BLOCKS, **CONVOLUTIONAL_BLOCKS, **ATTENTION_BLOCKS, **RECURRENT_BLOCKS, **HEAD_BLOCKS,
    **CHAINS,
}  # fmt: skip
_OVER_SEQUENCES = frozenset(
    {"encoder", "decoder", "masked_encoder", "torch_encoder", "window_encoder", "fused_encoder", "gated_mlp", "linear"}
)
_MASKED = frozenset({"masked_encoder", "masked_mean"})


@dataclass(frozen=True)
class Architecture:
    """One architecture as the catalogue describes it.

    Attributes:
        name: its name.
        family: families are held out together when predictors are judged.
        input: shape of its input.
        blocks: what it is made of, in order.
        tokens: how many different tokens its integer input has; 0 for a float input.
        forms: "inline" if its blocks say which of their operators are integer, "placed" if the rules of the runtime do,
            or both.
    """

    name: str
    family: str
    input: tuple[int, ...]
    blocks: tuple[Mapping[str, Any], ...]
    tokens: int = 0
    forms: tuple[str, ...] = ("inline",)

    @property
    def is_sequence(self) -> bool:
        """Whether it has matrix products over sequences, whose weights can have 4 bits."""
        return any(kind in block for block in self.blocks for kind in _OVER_SEQUENCES)

    @property
    def has_products(self) -> bool:
        """Whether it has matrix products that can be quantized dynamically."""
        return self.is_sequence or any("fully_connected" in block for block in self.blocks)

    def build(self, variant: Variant) -> bytes:
        """The serialized model of one variant.

        Raises:
            ConfigError: when the catalogue names a block that does not exist, or a placed variant has no quantizer.
        """
        net = Network(variant)
        x = net.input(self.input, dtype=TensorProto.INT64 if self.tokens else TensorProto.FLOAT)
        kept: dict[str, Value] = {}
        for block in self.blocks:
            x = _built(net, x, block, kept, self.name)
        model = net.model([x])
        if variant.placed:
            if variant.quantize is None:
                raise ConfigError(f"variant {variant.name} of {self.name} needs a quantizer; see variants_for")
            model = variant.quantize(model, variant)
        elif variant.block_size:
            model = with_small_weights(model, variant)
        return bytes(model.SerializeToString())

    def feeds(self, seed: int = 0) -> dict[str, Array]:
        """Inputs for a run: positive numbers of order one, or tokens, all of them present."""
        rng = np.random.default_rng(seed)
        if not self.tokens:
            return {"x": np.abs(rng.standard_normal(self.input)).astype(np.float32)}
        feeds: dict[str, Array] = {"x": rng.integers(1, self.tokens, self.input)}
        if any(kind in block for block in self.blocks for kind in _MASKED):
            feeds["mask"] = np.ones(self.input, np.int64)
        return feeds


def architectures(path: Path = _ARCHITECTURES) -> list[Architecture]:
    """The catalogue, in file order.

    Raises:
        ConfigError: when it is malformed.
    """
    try:
        rows = yaml.safe_load(path.read_text(encoding="utf-8"))
        return [_architecture(name, row) for name, row in rows.items()]
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"cannot read the architectures in {path.name}: {error!r}") from error


def zoo_models(runtime: str = "onnxruntime", quantize: Quantize | None = None) -> list[tuple[Architecture, Variant]]:
    """Every architecture in every variant that makes sense for it, breadth first.

    All families come before the second member, or the second variant, of any: however early a survey ends, it has seen
    something of every family.

    Args:
        runtime: name of the runtime that is to run them; see ``variants_for``.
        quantize: quantizes a float network as a search for this runtime does; placed variants are left out without it.
    """
    variants = variants_for(runtime, quantize)
    members: Counter[str] = Counter()
    rounds: dict[int, list[tuple[Architecture, Variant]]] = defaultdict(list)
    for position, architecture in enumerate(architectures()):
        forms = ("placed",) if runtime in PORTABLE_RUNTIMES else architecture.forms
        suitable = [v for v in variants if _suits(architecture, forms, v) and (position + v.seed) % v.every == 0]
        for rank, variant in enumerate(suitable):
            rounds[members[architecture.family] + rank].append((architecture, variant))
        members[architecture.family] += 1
    return [pair for number in sorted(rounds) for pair in rounds[number]]


def _suits(architecture: Architecture, forms: Sequence[str], variant: Variant) -> bool:
    if variant.block_size:
        return architecture.is_sequence
    if variant.placed:
        return "placed" in forms and (variant.int8_share > 0 or architecture.has_products)
    if variant.is_float:
        # Uneven placed variants have float operators of uneven widths, too.
        return not variant.uneven or "inline" in architecture.forms
    if variant.dynamic and not architecture.has_products:
        return False
    # Where precisions can also be placed as the search places them, mixtures and rare schemes of the other form
    # teach nothing about its candidates.
    usual = variant.int8_share == 1.0 and variant.every == 1
    return "inline" in forms and (usual or "placed" not in forms)


def _architecture(name: str, row: Mapping[str, Any]) -> Architecture:
    return Architecture(
        name=name,
        family=str(row["family"]),
        input=tuple(int(s) for s in row["input"]),
        blocks=tuple(row["blocks"]),
        tokens=int(row.get("tokens", 0)),
        forms=tuple(row.get("forms", ("inline",))),
    )


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
