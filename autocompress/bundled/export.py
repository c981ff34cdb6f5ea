"""The trained network as a plain ONNX graph, every batch normalization folded into its convolution.

Written node by node, not traced, so that the file holds readable names and nothing of the machine that made it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from autocompress.bundled.digits import CLASSES, IMAGE_SIZE
from autocompress.bundled.network import ConvNorm, DigitsResNet

OPSET = 17
IR_VERSION = 10


def to_onnx(network: DigitsResNet) -> onnx.ModelProto:
    """The network in evaluation mode: input ``image`` (N, 1, 32, 32), output ``logits`` (N, 10)."""
    graph = _Graph()
    x = graph.relu("stem.relu", graph.conv("stem.conv", "image", network.stem))
    for s, stage in enumerate(network.stages, start=1):
        for b, block in enumerate(stage):
            name = f"stage{s}.block{b}"
            inner = graph.relu(f"{name}.relu1", graph.conv(f"{name}.conv1", x, block.conv1))
            inner = graph.conv(f"{name}.conv2", inner, block.conv2)
            kept = x if block.shortcut is None else graph.conv(f"{name}.shortcut", x, block.shortcut)
            x = graph.relu(f"{name}.relu2", graph.node("Add", f"{name}.add", [inner, kept]))
    x = graph.node("Flatten", "flatten", [graph.node("GlobalAveragePool", "pool", [x])])
    weight = graph.constant("classifier.weight", network.classifier.weight)
    bias = graph.constant("classifier.bias", network.classifier.bias)
    graph.node("Gemm", "classifier", [x, weight, bias], output="logits", transB=1)
    return graph.model()


class _Graph:
    """Nodes and weights collected in execution order."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []

    def constant(self, name: str, tensor: Any) -> str:
        array = np.asarray(tensor.detach().numpy(), dtype=np.float32)
        self._weights.append(numpy_helper.from_array(array, name))
        return name

    def node(self, op_type: str, name: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        output = output or f"{name}.output"
        self._nodes.append(helper.make_node(op_type, inputs, [output], name=name, **attributes))
        return output

    def relu(self, name: str, x: str) -> str:
        return self.node("Relu", name, [x])

    def conv(self, name: str, x: str, layer: ConvNorm) -> str:
        """A convolution with its normalization folded in.

        gamma * (W x - mean) / s + beta  =  (gamma / s * W) x + (beta - gamma / s * mean),   s = sqrt(var + eps)
        """
        norm, conv = layer.norm, layer.conv
        factor = norm.weight / (norm.running_var + norm.eps).sqrt()
        inputs = [
            x,
            self.constant(f"{name}.weight", conv.weight * factor[:, None, None, None]),
            self.constant(f"{name}.bias", norm.bias - factor * norm.running_mean),
        ]
        pad = conv.padding[0]
        return self.node(
            "Conv",
            name,
            inputs,
            kernel_shape=list(conv.kernel_size),
            pads=[pad] * 4,
            strides=list(conv.stride),
        )

    def model(self) -> onnx.ModelProto:
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, IMAGE_SIZE, IMAGE_SIZE])
        logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", CLASSES])
        graph = helper.make_graph(self._nodes, "digits_resnet", [image], [logits], self._weights)
        model = helper.make_model(
            graph,
            producer_name="autocompress.bundled.train",
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)],
        )
        onnx.checker.check_model(model, full_check=True)
        return model
