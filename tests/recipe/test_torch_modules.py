"""PyTorch in, quantized ONNX out: the outputs stay near the module's, and the weights keep its parameters' names."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from autocompress.errors import ConfigError
from autocompress.graph.model import input_specs, load_model
from autocompress.graph.parameter_names import ParameterNames
from autocompress.graph.parameter_trace import trace_parameters
from autocompress.graph.torch_export import export_module
from autocompress.passes.quantize import INT8_DYNAMIC, QuantizeConfig

pytest.importorskip("torch")
pytest.importorskip("onnxscript")

sys.path.append(str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parents[1] / "passes"))
import torch
from quantize_models import Study, run
from torch_modules import CASES, Case

EXACT = 2e-5  # relative to the largest output
_SAMPLES = 12
torch.set_num_threads(1)
# Root mean square of the error by that of the outputs: all int8, random weights, ranges from few samples.
ROUNDED, ROUNDED_ELSEWHERE = 0.25, 0.5


@dataclass(frozen=True)
class Exported:
    case: Case
    module: Any
    model: onnx.ModelProto
    names: ParameterNames

    def called(self, samples: int, length: int) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
        """Feeds of that size, and the module's own outputs."""
        inputs = self.case.inputs(samples, length)
        with torch.no_grad():
            if isinstance(inputs, Mapping):
                outputs = self.module(**inputs)
            else:
                outputs = self.module(*inputs) if isinstance(inputs, tuple) else self.module(inputs)
        leaves = torch.utils._pytree.tree_leaves
        names = [spec.name for spec in input_specs(self.model)]
        feeds = {name: value.numpy() for name, value in zip(names, leaves(inputs), strict=True)}
        return feeds, [value.numpy() for value in leaves(outputs)]

    @cached_property
    def study(self) -> Study:
        return Study(self.model, self.called(_SAMPLES, self.case.sizes[1][1])[0])


@pytest.fixture(scope="module", params=CASES)
def exported(request) -> Exported:
    torch.manual_seed(0)
    case = CASES[request.param]
    module = case.module().eval()
    with torch.no_grad():
        for parameter in module.parameters():  # as if trained: no two are the same zeros or ones
            parameter += 0.1 * torch.randn_like(parameter)
    model, names = export_module(module, case.inputs(*case.sizes[0]), dynamic_shapes=case.open)
    return Exported(case, module, load_model(model), names)


def error_of(found: Mapping[str, np.ndarray], expected: list[np.ndarray]) -> float:
    values = [(ours - theirs, theirs) for ours, theirs in zip(found.values(), expected, strict=True)]
    return max(float(np.sqrt((e**2).mean() / (t**2).mean())) for e, t in values)


def test_the_prepared_model_computes_what_the_module_computes_at_any_size(exported) -> None:
    for size in exported.case.sizes:
        feeds, expected = exported.called(*size)
        found = run(exported.study.builder.prepared, feeds)
        for ours, theirs in zip(found.values(), expected, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=EXACT * np.abs(theirs).max(), rtol=0)


@pytest.mark.parametrize("precision", ["int8", INT8_DYNAMIC])
def test_the_quantized_model_stays_near_the_module(exported, precision: str) -> None:
    study = exported.study
    if precision == INT8_DYNAMIC and not any(INT8_DYNAMIC in u.options for u in study.units.values()):
        pytest.skip("has no matrix product to quantize at run time")
    model = study.build(QuantizeConfig(precision=precision, activation_range="min_max"))
    for samples, length in exported.case.sizes:
        feeds, expected = exported.called(samples, length)
        calibrated = length == exported.case.sizes[1][1]
        assert 1e-5 < error_of(run(model, feeds), expected) < (ROUNDED if calibrated else ROUNDED_ELSEWHERE)


@pytest.mark.parametrize("precision", ["int8", INT8_DYNAMIC])
def test_weights_are_followed_to_the_parameters_of_the_module(exported, precision: str) -> None:
    prepared = exported.study.builder.prepared
    model = exported.study.build(QuantizeConfig(precision=precision))
    held = trace_parameters(trace_parameters(exported.names, exported.model, prepared), prepared, model)
    weights = {weight.name: weight for weight in model.graph.initializer}
    found = {name for parameters in held.values() for name in parameters}
    parameters = dict(exported.module.named_parameters())
    # A normalization that was folded into the layer before it is not in the model any more.
    assert found == set(parameters) - set(exported.case.folded)
    for weight, names in held.items():
        elements = sum(parameters[name].numel() for name in names)
        assert int(np.prod(weights[weight].dims)) == elements, (weight, names)


def test_sizes_that_were_not_opened_stay_fixed() -> None:
    case = CASES["encoder"]
    model, _ = export_module(case.module(), case.inputs(2, 6))
    assert [spec.shape for spec in input_specs(model)] == [("batch", 6), ("batch", 6)]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"ids": {1: "sequence"}}, "'ids', but the module's inputs are input_ids"),
        ({"input_ids": {2: "sequence"}}, "each open axis of its 2"),
        ({"input_ids": 7}, "such as {1:"),
        (({}, {}, {}), "per input"),
    ],
)
def test_wrong_dynamic_shapes_are_one_sentence(asked, said) -> None:
    case = CASES["decoder"]
    with pytest.raises(ConfigError, match=said):
        export_module(case.module(), case.inputs(2, 6), dynamic_shapes=asked)


def test_inputs_that_do_not_fit_are_one_sentence() -> None:
    case = CASES["decoder"]
    with pytest.raises(ConfigError, match=r"does not fit Decoder\.forward"):
        export_module(case.module(), (case.inputs(2, 6), case.inputs(2, 6)))
