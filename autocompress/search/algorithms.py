"""What a search can choose from, as one table: ``python -m autocompress.search.algorithms docs/algorithms.md``.

The names come from the listings that the passes themselves use, so an algorithm that is added there is in the table, in
search spaces and in the conformance suite.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from autocompress.calibration.ranges import ALGORITHMS
from autocompress.files import write_text
from autocompress.passes.equalize.step import EQUALIZATIONS
from autocompress.passes.quantize import PRECISIONS
from autocompress.passes.reconstruct import METHODS
from autocompress.search.space import STEP_CHOICES

_HEAD = """# Algorithms

What a search can choose from, by the names that search spaces and recipes use. This page is generated:
`python -m autocompress.search.algorithms docs/algorithms.md`.
"""

_MEANING = {
    "fp32": "Nothing is rounded.",
    "int8": "Integer weights and activations, with ranges from calibration.",
    "int8_dynamic": "Integer weights; activations are quantized at run time from their own extremes.",
    "int8_weight_only": "Weights of 8 bits in blocks; activations stay float.",
    "int4_weight_only": "Weights of 4 bits in blocks; activations stay float.",
    "fp16_weights": "Weights are stored in half the bytes and computed with in float32.",
    "none": "The step is left out.",
    "linear": "Layers read the image at a lower resolution, by linear interpolation inside the model; weights stay.",
    "svd": "A layer with its kernel and fewer outputs, then a 1 x 1 layer.",
    "spatial": "A convolution over the height, then one over the width.",
    "tucker2": "Fewer inputs, a small convolution, and all outputs again.",
    "l1": "Channels of the smallest sum of absolute weights go.",
    "l2": "Channels of the smallest norm of weights go.",
    "geometric_median": "Channels nearest to all others go (FPGM, He et al., CVPR 2019).",
    "batch_norm_scale": "Channels of the smallest scale of batch normalization go (Liu et al., ICCV 2017), where the "
    "model as it came in still has it.",
    "activation": "Channels of the smallest mean magnitude on samples go.",
    "reconstruction": "Channels go that the layers behind miss least, by second moments of samples.",
    "surgeon": "Channels go one by one that cost the layers behind least once these are solved anew (optimal brain "
    "surgeon, Hassibi and Stork 1993, for channels as in ZipLM, Kurtic et al., NeurIPS 2023).",
    "taylor": "Channels of the smallest first-order effect on the output go, by gradients on samples.",
    "magnitude": "The smallest weights become zero; needs no samples.",
    "wanda": "The smallest products of a weight and the norm of what it meets, within each output (Sun et al., 2023).",
    "sparsegpt": "One weight after the other, and those that stay make up for it (Frantar and Alistarh, ICML 2023).",
    "unstructured": "Zeros may stand anywhere.",
    "2:4": "Two of each four input channels stay, for every output and kernel element.",
    "1:4": "One of each four stays.",
    "cross_layer": "Equal weight ranges in neighbouring layers (Nagel et al., ICCV 2019), then high-bias absorption; "
    "clipped channels keep within their bounds.",
    "cross_layer_unbound": "The same, after upper bounds that calibration hardly reaches were removed.",
    "smooth": "SmoothQuant (Xiao et al., ICML 2023): outliers of activations move into weights, through normalizations "
    "and layers before.",
    "smooth_insert": "The same, with a Mul of its own where nothing before can take the factors: in encoders that "
    "normalize behind the residual sum, that is everywhere, and `smooth` alone does nothing.",
    "awq": "AWQ (Lin et al., MLSys 2024): weights that meet large activations get finer steps, for weights in blocks.",
    "bias": "Empirical bias correction (Nagel et al., ICCV 2019): integers stay the nearest, and each layer's bias "
    "takes off what is left of the error behind the layer's activation, on what really reaches the layer.",
    "adaround": "AdaRound (Nagel et al., ICML 2020): each layer's rounding by gradient descent on its output, behind "
    "its activation where that is a function of one number (Relu, SiLU, HardSwish, Gelu and so on).",
    "gptq": "GPTQ (Frantar et al., ICLR 2023): column by column, the error of each made good by the rest, in squares "
    "before the activation.",
    "block": "The layers of a block together (BRECQ, Li et al., ICLR 2021; QDrop, Wei et al., ICLR 2022).",
    "distill": "Weights and step sizes of the quantized model are trained (LSQ, Esser et al., ICLR 2020), with the "
    "original as the teacher; the last resort, for `--recovery light` or `full`.",
}


@dataclass(frozen=True)
class Family:
    """Algorithms that take each other's place.

    Attributes:
        title: for people.
        key: in search spaces.
        others: further keys that take the same names.
        names: of the algorithms, as their own listing has them.
        meaning: what each does, in one sentence.
    """

    title: str
    key: str
    names: Sequence[str]
    meaning: Callable[[str], str]
    others: tuple[str, ...] = ()


def _of_range(name: str) -> str:
    lines = (ALGORITHMS[name].__doc__ or "").strip().split("\n\n")[0]
    return " ".join(lines.split()).replace("|", "\\|").replace("``", "`")


def _names(step: str) -> tuple[str, ...]:
    return tuple(map(str, STEP_CHOICES[step]))


FAMILIES: tuple[Family, ...] = (
    Family("Precisions of a unit", "precision.options", PRECISIONS, _MEANING.__getitem__),
    Family("Ranges", "scheme.activation_range", tuple(ALGORITHMS), _of_range, ("scheme.weight_range",)),
    Family("Smaller image inside the network", "steps.downsampling", _names("downsampling"), _MEANING.__getitem__),
    Family("Decomposition", "steps.decomposition", _names("decomposition"), _MEANING.__getitem__),
    Family(
        "Pruning of channels, by importance",
        "steps.pruning",
        _names("pruning"),
        _MEANING.__getitem__,
    ),
    Family("Sparsity, by what becomes zero", "steps.sparsity", _names("sparsity"), _MEANING.__getitem__),
    Family("Patterns of zeros", "steps.sparsity_pattern", _names("sparsity_pattern"), _MEANING.__getitem__),
    Family("Equalization", "steps.equalization", tuple(EQUALIZATIONS), _MEANING.__getitem__),
    Family("Reconstruction", "steps.reconstruction", METHODS, _MEANING.__getitem__),
)


def names_by_key() -> Mapping[str, Sequence[str]]:
    """Key of search spaces -> the algorithms of its family."""
    return {key: family.names for family in FAMILIES for key in (family.key, *family.others)}


def table() -> str:
    """The text of ``docs/algorithms.md``."""
    parts = [_HEAD]
    for family in FAMILIES:
        keys = " and ".join(f"`{key}`" for key in (family.key, *family.others))
        rows = "".join(f"| `{name}` | {family.meaning(name)} |\n" for name in family.names)
        parts.append(f"\n## {family.title}\n\n{keys}\n\n| Name | Meaning |\n| --- | --- |\n{rows}")
    return "".join(parts)


if __name__ == "__main__":
    write_text(sys.argv[1] if len(sys.argv) > 1 else Path("docs/algorithms.md"), table())
