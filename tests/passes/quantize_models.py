"""Small float models, their calibration on real runs, and ways to look at what became of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from autocompress.calibration.collect import collect
from autocompress.calibration.outputs import ActivationSessions
from autocompress.calibration.statistics import Statistics
from autocompress.graph.model import fingerprint, model_bytes
from autocompress.passes.quantize import QuantizeConfig
from autocompress.recipe.builder import CandidateBuilder, prepare
from autocompress.recipe.recipe import FrozenRecipe, Recipe
from autocompress.runtimes import get_runtime

SAMPLES = 8
INT8_CONFIG = QuantizeConfig()
Arrays = dict[str, np.ndarray]


class FloatGraph:
    """Builds a graph node by node; every method returns the name of the tensor it made."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[str] = []

    def input(self, name: str, *sizes: int, kind: int = TensorProto.FLOAT) -> str:
        """A graph input with a dynamic batch before ``sizes``."""
        self.inputs.append(helper.make_tensor_value_info(name, kind, ["n", *sizes]))
        return name

    def constant(self, values: object, name: str = "") -> str:
        name = name or f"k{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def random(self, *shape: int, scale: float = 0.3) -> str:
        return self.constant((self.rng.standard_normal(shape) * scale).astype(np.float32))

    def op(self, op_type: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        return self.ops(op_type, *inputs, outs=[out or f"t{len(self.nodes)}"], **attributes)[0]

    def ops(self, op_type: str, *inputs: str, outs: Sequence[str], **attributes: Any) -> list[str]:
        name = f"{op_type}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, list(inputs), list(outs), name=name, **attributes))
        return list(outs)

    def conv(self, x: str, cin: int, cout: int, k: int = 3, *, bias: bool = True, group: int = 1, out: str = "") -> str:
        operands = [x, self.random(cout, cin // group, k, k)] + ([self.random(cout)] if bias else [])
        return self.op("Conv", *operands, out=out, kernel_shape=[k, k], pads=[k // 2] * 4, group=group)

    def output(self, *names: str) -> None:
        self.outputs.extend(names)

    def model(self, opset: int = 17) -> onnx.ModelProto:
        blank = [onnx.ValueInfoProto(name=name) for name in self.outputs]
        graph = helper.make_graph(self.nodes, "g", self.inputs, blank, self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        inferred = onnx.shape_inference.infer_shapes(model)
        del model.graph.output[:]
        model.graph.output.extend(inferred.graph.output)
        onnx.checker.check_model(model)
        return model


def uneven() -> onnx.ModelProto:
    """Channels of very different size, which one scale per weight cannot hold."""
    graph = FloatGraph(4)
    weight = graph.rng.standard_normal((16, 3, 3, 3)) * 10.0 ** graph.rng.uniform(-1.5, 1, (16, 1, 1, 1))
    x = graph.op("Conv", graph.input("x", 3, 12, 12), graph.constant(weight.astype(np.float32)), pads=[1] * 4)
    x = graph.op("Relu", graph.conv(graph.op("Relu", x), 16, 16))
    graph.output(graph.op("Gemm", graph.op("Flatten", graph.op("GlobalAveragePool", x)), graph.random(16, 8)))
    return graph.model()


class ArraySource:
    """Samples held in arrays."""

    def __init__(self, feeds: Mapping[str, np.ndarray]) -> None:
        self._feeds = feeds

    def inputs(self, indices: Sequence[int]) -> Arrays:
        return {name: values[list(indices)] for name, values in self._feeds.items()}


def feeds_for(model: onnx.ModelProto, samples: int = SAMPLES, seed: int = 1) -> Arrays:
    """Random inputs: normal numbers, small integers, truth values."""
    rng = np.random.default_rng(seed)
    feeds: Arrays = {}
    for given in model.graph.input:
        shape = [samples, *(dim.dim_value for dim in given.type.tensor_type.shape.dim[1:])]
        kind = given.type.tensor_type.elem_type
        if kind == TensorProto.FLOAT:
            feeds[given.name] = rng.standard_normal(shape).astype(np.float32)
        elif kind == TensorProto.BOOL:
            feeds[given.name] = rng.integers(0, 2, shape).astype(bool)
        else:
            feeds[given.name] = rng.integers(0, 4, shape)
    return feeds


class Study:
    """A model, its calibration and its candidates."""

    def __init__(self, model: onnx.ModelProto, feeds: Arrays | None = None, runtime: str = "onnxruntime") -> None:
        self.model = model
        self.feeds = feeds_for(model) if feeds is None else feeds
        self.builder = CandidateBuilder(prepare(model), runtime, fingerprint(model))
        self.statistics = collect_statistics(self.builder, self.feeds)

    @property
    def units(self) -> dict[str, Any]:
        return {unit.name: unit for unit in self.builder.quantizer.units}

    def freeze(self, config: QuantizeConfig = INT8_CONFIG) -> FrozenRecipe:
        return self.builder.freeze(Recipe(config), self.statistics)

    def build(self, config: QuantizeConfig = INT8_CONFIG) -> onnx.ModelProto:
        candidate = self.builder.build(self.freeze(config))
        onnx.checker.check_model(candidate, full_check=True)
        return candidate

    def float_outputs(self) -> Arrays:
        return run(self.model, self.feeds)


def collect_statistics(builder: CandidateBuilder, feeds: Arrays) -> Statistics:
    sessions = ActivationSessions(builder.prepared, lambda m: get_runtime("onnxruntime").load(model_bytes(m)))
    samples = len(next(iter(feeds.values())))
    return collect(sessions, ArraySource(feeds), range(samples), builder.quantizer.tensors)


def run(model: onnx.ModelProto, feeds: Arrays) -> Arrays:
    """Outputs of ONNX Runtime."""
    return get_runtime("onnxruntime").load(model_bytes(model)).run(feeds)


def executed(model: onnx.ModelProto, feeds: Arrays) -> Counter[str]:
    """How often each operator stands in the graph as ONNX Runtime executes it; layout changes left out."""
    first = {name: values[:1] for name, values in feeds.items()}
    ops = get_runtime("onnxruntime").executed_ops(model_bytes(model), first, standalone=False)
    return Counter(op.signature.op_type for op in ops if op.signature.op_type != "Transpose")


def reference(model: onnx.ModelProto, feeds: Arrays) -> Arrays:
    """Outputs of onnx's own evaluator, which has Quantize and Dequantize from operator set 19 on."""
    newer = onnx.ModelProto()
    newer.CopyFrom(model)
    for opset in newer.opset_import:
        if opset.domain == "":
            opset.version = max(opset.version, 21)
    names = [output.name for output in model.graph.output]
    return dict(zip(names, ReferenceEvaluator(newer).run(names, feeds), strict=True))


def steps(model: onnx.ModelProto) -> dict[str, float]:
    """Quantization step of each graph output that is dequantized from int8."""
    values = {w.name: numpy_helper.to_array(w) for w in model.graph.initializer}
    producers = {name: node for node in model.graph.node for name in node.output}
    found = {}
    for output in model.graph.output:
        node = producers[output.name]
        if node.op_type == "DequantizeLinear":
            found[output.name] = float(values[node.input[1]])
    return found


def largest_step(model: onnx.ModelProto) -> float:
    """Largest quantization step of any activation."""
    values = {w.name: numpy_helper.to_array(w) for w in model.graph.initializer}
    return max(float(values[node.input[1]]) for node in model.graph.node if node.op_type == "QuantizeLinear")


def weights_of(model: onnx.ModelProto) -> Arrays:
    return {w.name: numpy_helper.to_array(w) for w in model.graph.initializer}
