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
- A convolution with signed weights has a kernel that reads 4 input channels at a time and writes multiples of 4 output
  channels (8 without AVX-512), from 16 on.  With 3 channels padded to 4 a 3x3 convolution is 1.3 to 1.5 times as fast,
  Pad included, and a 7x7 one 1.0 to 1.1 times; between 50 and 75 products with zeros for each result what is gained is
  lost.  Behind an integer kernel channels lie innermost, where Pad costs more than is gained (0.7 to 1.2).  In int8
  it must stand before the Quantize: the runtime turns only adjacent Q/DQ pairs into uint8, which the kernel wants.
- One that moves by strides is faster still on the phases of its image, 12 channels of it at strides of 2: a 3x3 one of
  up to 32 outputs and a 7x7 one 1.1 to 1.2 times as fast as padded, without overlap (2x2 to 16x16) 1.3 to 1.7 times.
- Nearest Resize moves data; linear Resize has no integer kernel and stays float between its Q/DQ.
"""

from __future__ import annotations

from autocompress.runtimes.protocol import ChannelPadding, QuantizationRules

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
    channel_padding=ChannelPadding(
        inputs=4, outputs=4, least_outputs=16, most_zeros=49, between=frozenset({"uint8"})
    ),
)  # fmt: skip
