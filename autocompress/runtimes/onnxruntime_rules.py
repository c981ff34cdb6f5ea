"""How ONNX Runtime's CPU provider wants Q/DQ placed.

Each line was read off the optimized graph of a small QDQ model; tests/conformance/test_runtimes.py does so again.

- A weighted operator becomes one integer kernel when its activation, weight and bias come from DequantizeLinear and
  its result goes to QuantizeLinear.  MatMul and Gemm may also write float.  A MatMul's bias Add must not stand between
  a MatMul that writes float and the float world: the pair becomes a float Gemm, unless the bias has three dimensions.
- Relu vanishes when the zero point of the result is the smallest integer, Clip when its bounds include everything the
  integers can represent.
- A float Conv, ConvTranspose or Gemm between a Dequantize and a Quantize gets int8 weights from the runtime itself.
- MatMulNBits computes a product with a matrix of 4 or 8 bits and one scale for each block of rows.
- The integer Softmax overflows where the scale of its result is finer than about 1/512, and in int8 it does not
  saturate (onnxruntime issue 29727): the range of its result must be 0 to 1, whatever was calibrated.
- Nearest Resize moves data; linear Resize has no integer kernel and stays float between its Q/DQ.
"""

from __future__ import annotations

from autocompress.runtimes.protocol import QuantizationRules

RULES = QuantizationRules(
    weighted_ops=frozenset({"Conv", "Gemm", "MatMul"}),
    joint_ops=frozenset(
        {
            "Add", "AveragePool", "Concat", "GlobalAveragePool", "LeakyRelu", "MatMul", "Mul", "Sigmoid", "Softmax",
            "Where",
        }
    ),
    transparent_ops=frozenset(
        {
            "DepthToSpace", "Expand", "Flatten", "Gather", "Identity", "MaxPool", "Reshape", "Resize", "Slice", "Split",
            "Squeeze", "Tile", "Transpose", "Unsqueeze",
        }
    ),
    fused_activations=frozenset({"Clip", "Relu"}),
    dynamic_ops=frozenset({"MatMul"}),
    requantized_ops=frozenset({"Conv", "ConvTranspose", "Gemm"}),
    float_result_ops=frozenset({"Gemm", "MatMul"}),
    lifted_bias=True,
    weight_only_ops=frozenset({"Gemm", "MatMul"}),
    weight_only_form="matmul_nbits",
    table_ops=frozenset({"Gather"}),
    least_results=(("Softmax", 0.0, 1.0),),
)  # fmt: skip
