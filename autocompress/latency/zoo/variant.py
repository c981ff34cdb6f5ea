"""How an architecture is built: precisions, widths, and the form in which a runtime wants them written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from onnx import ModelProto

# Runtimes that read 4-bit weights in the portable form only, and that the inline places of Q/DQ do not suit.
PORTABLE_RUNTIMES = frozenset({"openvino"})


@dataclass(frozen=True)
class Variant:
    """How an architecture is built.

    Attributes:
        name: short name.
        int8_share: probability that a layer is integer: 0 float, 1 integer, between mixed.
        activation_dtype: of integer activations.
        weight_dtype: of integer weights.
        per_channel: granularity of integer weights.
        dynamic: whether matrix products (in a placed variant: those that are not integer) are quantized dynamically.
        width: factor on channels; with ``uneven`` each width gets a factor of its own around it.
        uneven: whether channels are pruned to uneven numbers.
        every: built for each architecture (1) or only for some (2: every other one, ...), to keep tables small.
        seed: of everything random.
        placed: whether the float network is quantized as a search does it, on every operator that has an integer form,
            rather than by its blocks, which make integer what they are written to.
        quantize: what quantizes a placed variant.
        block_size: rows of a weight that share one scale in a variant with 4-bit weights; 0 keeps weights as they are.
        accuracy_level: of a product with 4-bit weights: 0 computes in float, 4 quantizes the activation to int8.
        zero_points: whether 4-bit weights have zero points (unsigned and asymmetric) or none.
        portable: whether 4-bit weights are written as a blocked DequantizeLinear, which every runtime reads, rather
            than as ONNX Runtime's own operator.
    """

    name: str
    int8_share: float = 0.0
    activation_dtype: str = "uint8"
    weight_dtype: str = "int8"
    per_channel: bool = True
    dynamic: bool = False
    width: float = 1.0
    uneven: bool = False
    every: int = 1
    seed: int = 0
    placed: bool = False
    quantize: Quantize | None = field(default=None, repr=False, compare=False)
    block_size: int = 0
    accuracy_level: int = 0
    zero_points: bool = False
    portable: bool = False

    @property
    def inline_share(self) -> float:
        """Probability that a block makes a layer integer itself."""
        return 0.0 if self.placed else self.int8_share

    @property
    def is_float(self) -> bool:
        """Whether nothing in it is narrower than float, without a quantizer's doing."""
        return self.int8_share == 0.0 and not self.dynamic and not self.block_size


Quantize = Callable[[ModelProto, Variant], ModelProto]

VARIANTS: tuple[Variant, ...] = (
    Variant("fp32"),
    Variant("int8", int8_share=1.0),
    Variant("placed_int8", int8_share=1.0, placed=True, seed=10),
    Variant("pruned_int8", int8_share=1.0, uneven=True, seed=1),
    Variant("placed_mixed", int8_share=0.5, placed=True, seed=11),
    Variant("pruned", uneven=True, seed=2),
    Variant("mixed", int8_share=0.6, every=2, seed=3),
    Variant("int8_dynamic", int8_share=1.0, dynamic=True, seed=7),
    Variant("placed_dynamic", dynamic=True, placed=True, every=3, seed=12),
    Variant("int4_32", block_size=32, accuracy_level=4, seed=13),
    Variant("mixed_pruned", int8_share=0.5, uneven=True, width=0.9, every=3, seed=4),
    Variant("placed_pruned", int8_share=0.7, placed=True, dynamic=True, uneven=True, every=2, seed=14),
    Variant("int8_signed", int8_share=1.0, activation_dtype="int8", every=2, seed=5),
    Variant("placed_signed", int8_share=1.0, placed=True, activation_dtype="int8", every=4, seed=15),
    Variant("int8_per_tensor", int8_share=1.0, weight_dtype="uint8", per_channel=False, uneven=True, every=3, seed=6),
    Variant(
        "placed_per_tensor", int8_share=1.0, placed=True, weight_dtype="uint8", per_channel=False, every=7, seed=22
    ),
    Variant("int4_64", block_size=64, accuracy_level=4, zero_points=True, every=3, seed=16),
    Variant("int4_128", block_size=128, accuracy_level=4, every=4, seed=17),
    Variant("int4_32_float", block_size=32, every=5, seed=18),
    Variant("int4_64_float", block_size=64, zero_points=True, every=5, seed=19),
    Variant("int4_128_float", block_size=128, every=5, seed=20),
    Variant("narrow", width=0.75, uneven=True, every=2, seed=8),
    Variant("narrow_int8", int8_share=1.0, width=0.75, uneven=True, every=2, seed=9),
    Variant("placed_narrow", int8_share=1.0, placed=True, width=0.75, uneven=True, every=5, seed=23),
)


def variants_for(runtime: str, quantize: Quantize | None = None) -> tuple[Variant, ...]:
    """The variants in the forms that a runtime wants.

    Args:
        runtime: its name.
        quantize: quantizes a float network as a search for this runtime does; placed variants are left out without it.
    """
    portable = runtime in PORTABLE_RUNTIMES
    wanted = []
    for variant in VARIANTS:
        if variant.placed:
            if quantize is not None and (variant.int8_share or not portable):
                wanted.append(replace(variant, quantize=quantize))
        elif variant.is_float or not portable:
            wanted.append(variant)
        elif variant.block_size and variant.accuracy_level:  # the portable form cannot ask for a level
            wanted.append(replace(variant, portable=True))
    return tuple(wanted)
