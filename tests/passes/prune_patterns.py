"""Graphs with coupled channels, one per pattern, and what can be removed from each."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parent))
from layer_graphs import LayerGraph


def conv(g: LayerGraph, x: str, inputs: int, outputs: int, kernel: int = 3, group: int = 1, bias: bool = True) -> str:
    weights = [g.random(outputs, inputs // group, kernel, kernel)] + ([g.random(outputs)] if bias else [])
    return g.op("Conv", x, *weights, pads=[kernel // 2] * 4, group=group)


def linear(g: LayerGraph, x: str, inputs: int, outputs: int) -> str:
    return g.op("Add", g.op("MatMul", x, g.random(inputs, outputs)), g.random(outputs))


def ints(g: LayerGraph, *values: int) -> str:
    return g.constant(np.asarray(values, np.int64))


def image(g: LayerGraph, channels: int = 3) -> str:
    return g.input("x", channels, 6, 6)


def tokens(g: LayerGraph, width: int = 12) -> str:
    return g.input("x", 5, width)


def chain(g: LayerGraph) -> None:
    x = g.op("Relu", conv(g, image(g), 3, 8))
    g.output(conv(g, g.op("Sigmoid", conv(g, x, 8, 6)), 6, 4))


def residual(g: LayerGraph) -> None:
    x = g.op("Relu", conv(g, image(g), 3, 8))
    y = conv(g, g.op("Relu", conv(g, x, 8, 6)), 6, 8)
    g.output(conv(g, g.op("Relu", g.op("Add", x, y)), 8, 2))


def padded_shortcut(g: LayerGraph) -> None:
    x = conv(g, image(g), 3, 4)
    wide = g.op("Pad", g.op("Slice", x, ints(g, 0, 0), ints(g, 6, 6), ints(g, 2, 3)), ints(g, 0, 2, 0, 0, 0, 2, 0, 0))
    g.output(conv(g, g.op("Add", wide, conv(g, x, 4, 8)), 8, 2))


def concatenated(g: LayerGraph) -> None:
    x = image(g)
    joined = g.op("Concat", conv(g, x, 3, 4), g.op("Relu", conv(g, x, 3, 6)), axis=1)
    g.output(conv(g, joined, 10, 2))


def joined_with_input(g: LayerGraph) -> None:
    x = image(g)
    g.output(conv(g, g.op("Concat", x, conv(g, x, 3, 6), axis=1), 9, 2))


def split(g: LayerGraph) -> None:
    first, second = split_in_two(g, conv(g, image(g), 3, 8), 3, 5)
    g.output(g.op("Add", conv(g, first, 3, 2), conv(g, second, 5, 2)))


def split_in_two(g: LayerGraph, x: str, first: int, second: int, axis: int = 1) -> tuple[str, str]:
    result = g.op("Split", x, ints(g, first, second), axis=axis)
    g.nodes[-1].output.append(f"{result}_b")
    return result, f"{result}_b"


def gated(g: LayerGraph) -> None:
    first, second = split_in_two(g, conv(g, image(g), 3, 12), 6, 6)
    g.output(conv(g, g.op("Mul", first, g.op("Sigmoid", second)), 6, 2))


def sliced(g: LayerGraph) -> None:
    x = conv(g, image(g), 3, 8)
    part = g.op("Slice", x, ints(g, -6), ints(g, 9223372036854775807), ints(g, 1))
    g.output(conv(g, part, 6, 2))


def picked(g: LayerGraph) -> None:
    x = conv(g, image(g), 3, 8)
    g.output(conv(g, g.op("Gather", x, ints(g, 7, 0, 3, 3, -2, 1, 2, 5, 4), axis=1), 9, 2))


def flattened(g: LayerGraph) -> None:
    x = g.op("MaxPool", conv(g, image(g), 3, 8), kernel_shape=[3, 3], strides=[3, 3])
    g.output(g.op("Gemm", g.op("Flatten", x), g.random(5, 32), g.random(5), transB=1))


def reshaped(g: LayerGraph) -> None:
    x = g.op("Reshape", g.op("Relu", conv(g, image(g), 3, 8)), ints(g, 0, 8 * 36))
    g.output(g.op("Gemm", x, g.random(288, 4)))


def pooled(g: LayerGraph) -> None:
    x = g.op("GlobalAveragePool", g.op("Clip", conv(g, image(g), 3, 8), g.constant(np.float32(0))))
    g.output(g.op("MatMul", g.op("Squeeze", x, ints(g, 2, 3)), g.random(8, 4)))


def depthwise(g: LayerGraph) -> None:
    x = g.op("Relu", conv(g, image(g), 3, 8, 1))
    g.output(conv(g, g.op("Relu", conv(g, x, 8, 8, group=8)), 8, 4, 1))


def depthwise_twice(g: LayerGraph) -> None:
    x = g.op("Relu", conv(g, image(g), 3, 6, 1))
    g.output(conv(g, conv(g, x, 6, 12, group=6), 12, 4, 1))


def grouped(g: LayerGraph) -> None:
    x = g.op("Relu", conv(g, image(g), 3, 12, 1))
    g.output(conv(g, g.op("Relu", conv(g, x, 12, 9, group=3)), 9, 4, 1))


def grouped_transposed(g: LayerGraph) -> None:
    x = conv(g, image(g), 3, 6, 1)
    y = g.op("ConvTranspose", x, g.random(6, 4, 2, 2), g.random(8), strides=[2, 2], group=2)
    g.output(conv(g, g.op("Relu", y), 8, 3, 1))


def transposed(g: LayerGraph) -> None:
    y = g.op("ConvTranspose", conv(g, image(g), 3, 6, 1), g.random(6, 5, 2, 2), g.random(5), strides=[2, 2])
    g.output(conv(g, y, 5, 3, 1))


def squeeze_excite(g: LayerGraph) -> None:
    x = g.op("Relu", conv(g, image(g), 3, 8))
    s = g.op("ReduceMean", x, axes=[2, 3], keepdims=1)
    s = g.op("HardSigmoid", conv(g, g.op("Relu", conv(g, s, 8, 4, 1)), 4, 8, 1))
    g.output(conv(g, g.op("Mul", x, s), 8, 2))


def shuffled(g: LayerGraph) -> None:
    x = g.op("Reshape", conv(g, image(g), 3, 16), ints(g, -1, 2, 8, 6, 6))
    x = g.op("Reshape", g.op("Transpose", x, perm=[0, 2, 1, 3, 4]), ints(g, -1, 16, 6, 6))
    g.output(conv(g, g.op("Relu", conv(g, x, 16, 6, group=2)), 6, 2))


def shuffled_halves(g: LayerGraph) -> None:
    x = image(g)
    x = g.op("Reshape", g.op("Concat", conv(g, x, 3, 6), conv(g, x, 3, 6), axis=1), ints(g, -1, 2, 6, 6, 6))
    x = g.op("Reshape", g.op("Transpose", x, perm=[0, 2, 1, 3, 4]), ints(g, -1, 12, 6, 6))
    first, second = split_in_two(g, x, 6, 6)
    g.output(conv(g, g.op("Concat", first, conv(g, second, 6, 6), axis=1), 12, 3))


def pixel_shuffle(g: LayerGraph) -> None:
    x = g.op("DepthToSpace", conv(g, image(g), 3, 12), blocksize=2, mode="CRD")
    g.output(conv(g, g.op("DepthToSpace", conv(g, x, 3, 16), blocksize=2), 4, 2))


def pixel_shuffle_by_hand(g: LayerGraph) -> None:
    x = g.op("Reshape", conv(g, image(g), 3, 12), ints(g, -1, 3, 2, 2, 6, 6))
    x = g.op("Reshape", g.op("Transpose", x, perm=[0, 1, 4, 2, 5, 3]), ints(g, -1, 3, 12, 12))
    g.output(conv(g, x, 3, 2))


def attention(g: LayerGraph) -> None:
    x = tokens(g)
    q, k, v = (g.op("Reshape", linear(g, x, 12, 12), ints(g, 0, 5, 3, 4)) for _ in range(3))
    scores = g.op("MatMul", g.op("Transpose", q, perm=[0, 2, 1, 3]), g.op("Transpose", k, perm=[0, 2, 3, 1]))
    mixed = g.op("MatMul", g.op("Softmax", scores, axis=-1), g.op("Transpose", v, perm=[0, 2, 1, 3]))
    y = g.op("Reshape", g.op("Transpose", mixed, perm=[0, 2, 1, 3]), ints(g, 0, 5, 12))
    g.output(linear(g, y, 12, 12))


def attention_in_one(g: LayerGraph) -> None:
    x = g.op("Reshape", linear(g, tokens(g), 12, 36), ints(g, 0, 5, 3, 3, 4))
    x = g.op("Transpose", x, perm=[2, 0, 3, 1, 4])
    q, k, v = (g.op("Gather", x, g.constant(np.int64(i)), axis=0) for i in range(3))
    scores = g.op("MatMul", q, g.op("Transpose", k, perm=[0, 1, 3, 2]))
    mixed = g.op("Transpose", g.op("MatMul", g.op("Softmax", scores, axis=-1), v), perm=[0, 2, 1, 3])
    g.output(linear(g, g.op("Reshape", mixed, ints(g, 0, 5, 12)), 12, 12))


def counted_attention(g: LayerGraph) -> None:
    """The batch comes from the running model, and one shape serves queries, keys and values."""
    x = tokens(g)
    batch = g.op("Slice", g.op("Shape", x), ints(g, 0), ints(g, 1))
    shape = g.op("Concat", batch, ints(g, 5), ints(g, 3, 4), axis=0)
    q, k, v = (g.op("Transpose", g.op("Reshape", linear(g, x, 12, 12), shape), perm=[0, 2, 1, 3]) for _ in range(3))
    scores = g.op("MatMul", q, g.op("Transpose", k, perm=[0, 1, 3, 2]))
    mixed = g.op("Transpose", g.op("MatMul", g.op("Softmax", scores, axis=-1), v), perm=[0, 2, 1, 3])
    g.output(linear(g, g.op("Reshape", mixed, g.op("Concat", batch, ints(g, 5, 12), axis=0)), 12, 12))


def masked_attention(g: LayerGraph) -> None:
    """The mask is expanded to a computed shape, in which -1 stands for "as it is"."""
    x = tokens(g)
    batch = g.op("Slice", g.op("Shape", x), ints(g, 0), ints(g, 1))
    shape = g.op("Concat", batch, ints(g, -1), ints(g, 5, 5), axis=0)
    shape = g.op("Where", g.op("Equal", shape, ints(g, -1, -1, -1, -1)), ints(g, 1, 1, 1, 1), shape)
    mask = g.op("Expand", g.random(1, 1, 5, 5), shape)
    apart = g.op("Concat", batch, ints(g, 5, -1, 4), axis=0)
    q, k, v = (g.op("Transpose", g.op("Reshape", linear(g, x, 12, 12), apart), perm=[0, 2, 1, 3]) for _ in range(3))
    scores = g.op("Add", g.op("MatMul", q, g.op("Transpose", k, perm=[0, 1, 3, 2])), mask)
    mixed = g.op("Transpose", g.op("MatMul", g.op("Softmax", scores, axis=-1), v), perm=[0, 2, 1, 3])
    g.output(linear(g, g.op("Reshape", mixed, g.op("Concat", batch, ints(g, 5, -1), axis=0)), 12, 12))


def neurons(g: LayerGraph) -> None:
    x = tokens(g)
    x = g.op("LayerNormalization", x, g.random(12), g.random(12))
    y = linear(g, x, 12, 20)
    y = g.op("Mul", g.op("Mul", y, g.op("Add", g.op("Erf", y), g.constant(np.float32(1)))), g.constant(np.float32(0.5)))
    g.output(g.op("Add", x, linear(g, y, 20, 12)))


def computed_heads(g: LayerGraph) -> None:
    """The number of heads is left to the running model, as are batch and length."""
    x = g.input("x", 5, 12)
    shape = g.op("Shape", x)
    sizes = [g.op("Slice", shape, ints(g, i), ints(g, i + 1)) for i in range(2)]
    apart = g.op("Concat", *sizes, ints(g, -1), ints(g, 4), axis=0)
    v = g.op("Transpose", g.op("Reshape", linear(g, x, 12, 12), apart), perm=[0, 2, 1, 3])
    v = g.op("Transpose", g.op("MatMul", g.random(1, 1, 5, 5), v), perm=[0, 2, 1, 3])
    y = g.op("Reshape", v, g.op("Concat", *sizes, ints(g, -1), axis=0))
    g.output(linear(g, g.op("Squeeze", g.op("Unsqueeze", y, ints(g, 0)), ints(g, 0)), 12, 3))


def gated_neurons(g: LayerGraph) -> None:
    x = tokens(g)
    g.output(linear(g, g.op("Mul", g.op("Sigmoid", linear(g, x, 12, 10)), linear(g, x, 12, 10)), 10, 3))


def group_normalized(g: LayerGraph) -> None:
    x = conv(g, image(g), 3, 12)
    y = g.op("Reshape", x, ints(g, 0, 3, -1))
    ones, zeros = g.constant(np.ones(3, np.float32)), g.constant(np.zeros(3, np.float32))
    y = g.op("Reshape", g.op("InstanceNormalization", y, ones, zeros), ints(g, -1, 12, 6, 6))
    g.output(conv(g, g.op("Add", g.op("Mul", y, g.random(12, 1, 1)), g.random(12, 1, 1)), 12, 2))


def recurrent(g: LayerGraph) -> None:
    x = g.op("Transpose", linear(g, tokens(g), 12, 6), perm=[1, 0, 2])
    y = g.op(
        "LSTM", x, g.random(2, 20, 6), g.random(2, 20, 5), g.random(2, 40), hidden_size=5, direction="bidirectional"
    )
    y = g.op("Reshape", g.op("Transpose", y, perm=[2, 0, 1, 3]), ints(g, -1, 5, 10))
    g.output(linear(g, y, 10, 3))


def upsampled(g: LayerGraph) -> None:
    x = conv(g, image(g), 3, 8)
    g.output(conv(g, g.op("Resize", x, "", "", ints(g, 2, 8, 12, 12)), 8, 2))


PATTERNS: dict[str, tuple[Callable[[LayerGraph], None], list[int]]] = {
    "chain": (chain, [8, 6]),
    "residual": (residual, [8, 6]),
    "padded shortcut": (padded_shortcut, [4, 4]),
    "concat": (concatenated, [4, 6]),
    "concat with input": (joined_with_input, [6]),
    "split": (split, [3, 5]),
    "gated": (gated, [6]),
    "slice": (sliced, [2, 6]),
    "gather": (picked, [8]),
    "flatten": (flattened, [8]),
    "reshape to gemm": (reshaped, [8]),
    "global pool": (pooled, [8]),
    "depthwise": (depthwise, [8]),
    "depthwise multiplier": (depthwise_twice, [6, 2]),
    "grouped": (grouped, [3, 4, 3]),
    "transposed": (transposed, [6, 5]),
    "grouped transposed": (grouped_transposed, [2, 3, 4]),
    "squeeze excite": (squeeze_excite, [8, 4]),
    "channel shuffle": (shuffled, [2, 4, 3]),
    "shuffled halves": (shuffled_halves, [3, 3, 6]),
    "pixel shuffle": (pixel_shuffle, [3, 4]),
    "pixel shuffle by hand": (pixel_shuffle_by_hand, [3]),
    "attention": (attention, [3, 4, 4]),
    "attention in one": (attention_in_one, [3, 4]),
    "counted attention": (counted_attention, [3, 4]),
    "masked attention": (masked_attention, [3, 4]),
    "computed heads": (computed_heads, [3, 4]),
    "neurons": (neurons, [20]),
    "gated neurons": (gated_neurons, [10]),
    "group normalization": (group_normalized, [3]),
    "recurrent": (recurrent, [6, 5]),
    "upsampled": (upsampled, [8]),
}
"""Name -> graph, and the sizes of its groups in order."""
