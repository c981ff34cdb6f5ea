"""How OpenVINO's CPU plugin wants Q/DQ placed.

Each line was read off the executed graph of a small QDQ model (2026.4); tests/conformance/test_runtimes.py does so
again.

- A weighted operator becomes one integer kernel when its activation and its weight come from DequantizeLinear.  The
  weight must be int8, per tensor or per channel; an unsigned one is computed with in float.  The activation may be
  uint8 or int8 with any zero point, except that ConvTranspose and the MatMul of two activations need a zero point of
  zero (the latter int8 on both sides).  A bias may be float or a dequantized int32.
- The result may be float, at no cost; a QuantizeLinear behind it becomes part of the kernel.  A float layer between a
  Dequantize and a Quantize stays float.
- The kernel computes the activation behind it before it requantizes, also with a clip inside the range, and the Add of
  a constant after a MatMul.  HardSigmoid, Softplus and Softmax are kernels of their own, in float.
- A residual Add joins the integer kernel of a weighted operator before it when both its operands are quantized (with
  int8 activations the other operand is converted to float first, which costs a little; with uint8 it is not).  Where
  only one is, or none comes from such a kernel, it is a float loop of its own.
- Pools run on integers; Concat needs no Q/DQ of its own, since OpenVINO pulls the Quantize behind it into the branches.
  Elementwise operators, Softmax and Where read and write integers but compute in float: nothing is gained.
- Operators that only move data move integers, except Tile and SpaceToDepth; linear Resize computes in float.
- A MatMul with a dequantized matrix of 4 or 8 bits, per channel or by blocks of rows, is one kernel on float
  activations, and faster than float.
- It keeps a zero point for each position of the axis along which a Concat joins, and refuses a MatMul behind it unless
  that is the last axis or zero points are zero.
- What a Concat joins in signed integers it stores as the real values rounded to whole numbers, so that a convolution
  behind it is wrong (by 7 to 40 % in small models); unsigned integers, products and pools behind it are right.
- Zero channels added to the three of an image gain nothing (measured: 0.96 to 0.99 of the speed without).
- DynamicQuantizeLinear and MatMulInteger are executed one by one, ten times slower than float.
"""

from __future__ import annotations

from autocompress.runtimes.protocol import QuantizationRules

_ACTIVATIONS = frozenset(
    {
        ("Abs",), ("Clip",), ("Elu",), ("Gelu",), ("HardSwish",), ("LeakyRelu",), ("Mish",), ("PRelu",), ("Relu",),
        ("Sigmoid",), ("Sqrt",), ("Swish",), ("Tanh",),
        ("Sigmoid", "Mul"), ("Softplus", "Tanh", "Mul"),
        ("Add", "Clip", "Mul", "Div"), ("Add", "Clip", "Div", "Mul"),
        ("Div", "Erf", "Add", "Mul", "Mul"), ("Mul", "Erf", "Add", "Mul", "Mul"), ("Mul", "Div", "Erf", "Add", "Mul"),
        ("Pow", "Mul", "Add", "Mul", "Tanh", "Add", "Mul", "Mul"),
    }
)  # fmt: skip

RULES = QuantizationRules(
    weighted_ops=frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"}),
    joint_ops=frozenset({"Add", "AveragePool", "GlobalAveragePool", "MatMul"}),
    transparent_ops=frozenset(
        {
            "DepthToSpace", "Expand", "Flatten", "Gather", "Identity", "MaxPool", "Reshape", "Resize", "Slice", "Split",
            "Squeeze", "Transpose", "Unsqueeze",
        }
    ),
    fused_activations=frozenset(),
    dynamic_ops=frozenset(),
    computed_activations=_ACTIVATIONS,
    float_result_ops=frozenset(
        {"Add", "AveragePool", "Conv", "ConvTranspose", "Gemm", "GlobalAveragePool", "MatMul"}
    ),
    bias_adds=True,
    following_ops=frozenset({"Add"}),
    centred_ops=frozenset({"ConvTranspose", "MatMul"}),
    weight_dtypes=frozenset({"int8"}),
    weight_only_ops=frozenset({"Gemm", "MatMul"}),
    weight_only_form="dequantize",
    table_ops=frozenset({"Gather"}),
    uneven_concat_ops=frozenset({"Gemm", "MatMul"}),
    unsigned_concat_ops=frozenset({"Conv", "ConvTranspose"}),
)  # fmt: skip
