from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from autocompress.graph.model import copy_model, fingerprint


def test_is_64_hex_digits(network):
    identity = fingerprint(network)
    assert len(identity) == 64
    int(identity, 16)


def test_ignores_how_the_model_is_written(network):
    other = copy_model(network)
    other.producer_name, other.producer_version, other.doc_string, other.ir_version = "p", "1", "text", 9
    other.metadata_props.add(key="k", value="v")
    other.graph.node[0].doc_string = "a convolution"
    other.graph.value_info.append(onnx.helper.make_tensor_value_info("c", 1, ["N", 16, 8, 8]))
    for weight in other.graph.initializer:
        values = numpy_helper.to_array(weight)
        weight.ClearField("raw_data")
        weight.float_data.extend(values.reshape(-1).tolist())
    weights = list(reversed(other.graph.initializer))
    del other.graph.initializer[:]
    other.graph.initializer.extend(weights)
    assert fingerprint(other) == fingerprint(network)


def change_weight(model):
    values = numpy_helper.to_array(model.graph.initializer[0]).copy()
    values[0, 0, 0, 0] = np.nextafter(values[0, 0, 0, 0], np.float32(9))
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(values, "w"))


CHANGES = {
    "weight": change_weight,
    "attribute": lambda m: m.graph.node[0].attribute[0].ints.__setitem__(0, 2),
    "operator": lambda m: setattr(m.graph.node[1], "op_type", "Sigmoid"),
    "opset": lambda m: setattr(m.opset_import[0], "version", 18),
    "tensor name": lambda m: (m.graph.node[1].output.__setitem__(0, "q"), m.graph.node[2].input.__setitem__(0, "q")),
    "node name": lambda m: setattr(m.graph.node[1], "name", "other"),
    "input size": lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[2], "dim_value", 16),
    "order of reads": lambda m: m.graph.node[4].input.reverse(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_sees_every_change_of_the_computation(network, change):
    other = copy_model(network)
    CHANGES[change](other)
    assert fingerprint(other) != fingerprint(network)
