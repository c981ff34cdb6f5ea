"""How many recipes per second the latency estimate prices for a graph of ResNet-50's size, on one core.

    python benchmarks/estimate_rate.py [--limit 2000] [--single-limit-ms 1]

Two ways, as the search uses them.  By operators: the operators that ONNX Runtime executes for ResNet-50 in float and in
int8 are drawn into recipes, and each recipe is estimated operator by operator, with its interval, from the shipped
table and forests; once with operators that the estimator has seen and once with a fresh estimator that asks its forests
for every operator.  By regions: additive prices of regions and conversions, which score thousands of recipes for each
one that is built.  Regions and boundaries come from the package's own analysis of the graph; the prices themselves are
arbitrary, since the work does not depend on them.  Times are CPU times, the median of several stretches.  Prints one
JSON document; the limits turn the slower of the two batch rates, and the single estimate, into an exit code.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from autocompress.graph.index import GraphIndex
from autocompress.latency.estimator import LatencyEstimator
from autocompress.latency.locate import shipped_folder, shipped_tables
from autocompress.latency.predictor import load_predictors
from autocompress.latency.table import LatencyTable
from autocompress.latency.zoo.catalogue import architectures, zoo_models
from autocompress.passes.quantize.units import find_units
from autocompress.runtimes import get_runtime
from autocompress.runtimes.protocol import ExecutedOp
from autocompress.search.boundaries import find_boundaries
from autocompress.search.prices import OPTIONS, ConversionPrice, LatencyPrices
from autocompress.search.regions import find_regions

_STRETCHES = 7
STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))
"""Inner channels, blocks, stride of the first block."""


def main(arguments: list[str] | None = None) -> int:
    """Measures and prints; returns 1 when a rate is below its limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=256, help="recipes priced at once")
    parser.add_argument("--seconds", type=float, default=2.0, help="per measurement")
    parser.add_argument("--limit", type=float, help="recipes per second")
    parser.add_argument("--single-limit-ms", type=float, help="milliseconds of one estimate")
    options = parser.parse_args(arguments)
    by_operators = _by_operators(options.batch, options.seconds)
    by_regions = _by_regions(options.batch, options.seconds)
    result = {"benchmark": "estimate_rate", "recipes_per_call": options.batch, "limit": options.limit,
              "by_operators": by_operators, "by_regions": by_regions}  # fmt: skip
    print(json.dumps(result, indent=2))
    slowest = min(part["recipes_per_second"] for part in (by_operators, by_regions))
    single_ms = max(part["single_estimate_ms"] for part in (by_operators, by_regions))
    too_slow = options.limit is not None and slowest < options.limit
    return 1 if too_slow or (options.single_limit_ms is not None and single_ms > options.single_limit_ms) else 0


def _by_operators(batch: int, seconds: float) -> dict[str, float]:
    table = LatencyTable.load(next(path for path in shipped_tables() if "onnxruntime" in path.name))
    folder = shipped_folder("predictors") / table.header.stem
    recipes = resnet50_recipes(batch)
    known = LatencyEstimator(table, load_predictors(folder))

    def fresh() -> None:
        LatencyEstimator(None, predictors).estimate_many(recipes)

    predictors = load_predictors(folder)
    batch_s = _seconds_per_call(lambda: known.estimate_many(recipes), seconds)
    return {
        "operators_per_recipe": round(statistics.mean(len(recipe) for recipe in recipes), 1),
        "distinct_operators": len({op.signature.key for recipe in recipes for op in recipe}),
        "recipes_per_second": round(batch / batch_s),
        "single_estimate_ms": round(1e3 * _seconds_per_call(lambda: known.estimate(recipes[0]), seconds), 4),
        "recipes_per_second_from_forests_alone": round(batch / _seconds_per_call(fresh, seconds)),
    }


def _by_regions(batch: int, seconds: float) -> dict[str, float]:
    prices = resnet50_prices()
    recipes = np.random.default_rng(0).integers(0, 2, (batch, len(prices.regions)))
    return {
        "regions": len(prices.regions),
        "boundaries": len(prices.boundaries),
        "recipes_per_second": round(batch / _seconds_per_call(lambda: prices.price_ms(recipes), seconds)),
        "single_estimate_ms": round(1e3 * _seconds_per_call(lambda: prices.estimate(recipes[0].tolist()), seconds), 4),
    }


def resnet50_recipes(count: int) -> list[list[ExecutedOp]]:
    """Operators of recipes: each operator of ResNet-50 in float or in int8, as ONNX Runtime executes them."""
    runtime = get_runtime("onnxruntime")
    built = next(a for a in architectures() if a.name == "resnet50")
    executed: dict[str, Sequence[ExecutedOp]] = {}
    for architecture, variant in zoo_models(runtime.name):
        if architecture.name == built.name and variant.name in ("fp32", "int8"):
            model = architecture.build(variant)
            executed[variant.name] = runtime.executed_ops(model, architecture.feeds(), standalone=False)
    draw = random.Random(0)
    recipes = []
    for _ in range(count):
        share = draw.random()
        longer, shorter = sorted(executed.values(), key=len, reverse=True)
        recipes.append([shorter[i] if i < len(shorter) and draw.random() < share else op
                        for i, op in enumerate(longer)])  # fmt: skip
    return recipes


def resnet50_prices() -> LatencyPrices:
    """Prices of every region of ResNet-50 in float and int8, drawn at random."""
    model = onnx.shape_inference.infer_shapes(resnet50())
    sizes = {
        value.name: int(np.prod([d.dim_value for d in value.type.tensor_type.shape.dim]))
        for value in (*model.graph.input, *model.graph.value_info, *model.graph.output)
    }
    rules = get_runtime("onnxruntime").quantization
    float_tensors = frozenset(sizes) | {weight.name for weight in model.graph.initializer}
    regions = find_regions(find_units(GraphIndex(model), rules, float_tensors))
    us = np.full((len(regions), len(OPTIONS)), np.inf)
    us[:, :2] = np.random.default_rng(1).uniform(10.0, 1000.0, (len(regions), 2))
    conversion = ConversionPrice(fixed_us=2.0, per_element_us=1e-4)
    return LatencyPrices(regions, us, 100.0, find_boundaries(model, regions, rules, sizes), conversion, conversion)


def resnet50() -> onnx.ModelProto:
    """The graph of ResNet-50 (He et al., 2015) with all weights zero."""
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []

    def add(op_type: str, name: str, inputs: list[str], **attributes: object) -> str:
        nodes.append(helper.make_node(op_type, inputs, [f"{name}:0"], name=name, **attributes))
        return f"{name}:0"

    def weight(name: str, *dims: int) -> str:
        weights.append(numpy_helper.from_array(np.zeros(dims, np.float32), name))
        return name

    def conv(name: str, x: str, channels_in: int, channels_out: int, kernel: int, stride: int) -> str:
        inputs = [x, weight(f"{name}.weight", channels_out, channels_in, kernel, kernel)]
        inputs.append(weight(f"{name}.bias", channels_out))
        pads = [kernel // 2] * 4
        return add("Conv", name, inputs, kernel_shape=[kernel, kernel], strides=[stride, stride], pads=pads)

    x = add("Relu", "stem.relu", [conv("stem", "image", 3, 64, 7, 2)])
    x = add("MaxPool", "pool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    channels = 64
    for s, (inner, blocks, stride) in enumerate(STAGES):
        for b in range(blocks):
            name, step = f"stage{s}.block{b}", stride if b == 0 else 1
            y = add("Relu", f"{name}.relu1", [conv(f"{name}.conv1", x, channels, inner, 1, 1)])
            y = add("Relu", f"{name}.relu2", [conv(f"{name}.conv2", y, inner, inner, 3, step)])
            y = conv(f"{name}.conv3", y, inner, 4 * inner, 1, 1)
            kept = conv(f"{name}.shortcut", x, channels, 4 * inner, 1, step) if b == 0 else x
            x = add("Relu", f"{name}.relu3", [add("Add", f"{name}.add", [y, kept])])
            channels = 4 * inner
    x = add("Flatten", "flatten", [add("GlobalAveragePool", "average", [x])])
    logits = add("Gemm", "classifier", [x, weight("w", 1000, channels), weight("b", 1000)], transB=1)
    graph = helper.make_graph(
        nodes,
        "resnet50",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 224, 224])],
        [helper.make_tensor_value_info(logits, TensorProto.FLOAT, [1, 1000])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def _seconds_per_call(call: Callable[[], object], seconds: float) -> float:
    """CPU seconds of one call, the median of several stretches."""
    call()
    found = []
    for _ in range(_STRETCHES):
        calls, start = 0, time.process_time()
        while (spent := time.process_time() - start) < seconds / _STRETCHES or not calls:
            call()
            calls += 1
        found.append(spent / calls)
    return statistics.median(found)


if __name__ == "__main__":
    raise SystemExit(main())
