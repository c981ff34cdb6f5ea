from __future__ import annotations

import sys

import numpy as np
import pytest

from autocompress.errors import ConfigError, ModelError
from autocompress.graph.model import input_specs, load_model
from autocompress.graph.torch_export import export_module

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")


class Convolutional(torch.nn.Module):
    """BatchNorm with real statistics, two inputs, nested outputs."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = torch.nn.BatchNorm2d(8)
        self.drop = torch.nn.Dropout()
        self.head = torch.nn.Linear(8, 5)
        self.norm.running_mean.normal_()
        self.norm.running_var.uniform_(0.5, 2)

    def forward(self, x, y):
        pooled = torch.relu(self.norm(self.conv(x))).mean((2, 3))
        return self.head(self.drop(pooled)), {"sum": pooled + y}


class Recurrent(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = torch.nn.LSTM(4, 6, batch_first=True, bidirectional=True)
        self.head = torch.nn.Linear(12, 3)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


class Patches(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Conv2d(3, 16, 4, 4)
        self.layer = torch.nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, activation="gelu")
        self.head = torch.nn.Linear(16, 3)

    def forward(self, image):
        return self.head(self.layer(self.embed(image).flatten(2).transpose(1, 2)).mean(1))


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def repeated(tensor, count):
    return torch.randn(count, *tensor.shape[1:])


def compare(run, model, module, inputs):
    feeds = {spec.name: tensor.numpy() for spec, tensor in zip(input_specs(model), inputs, strict=True)}
    module.eval()
    with torch.no_grad():
        expected = module(*inputs)
    flat = [expected] if isinstance(expected, torch.Tensor) else [expected[0], expected[1]["sum"]]
    for theirs, ours in zip(flat, run(load_model(model), feeds), strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-4, atol=1e-4)


def test_convolutional_with_two_inputs(run, capfd):
    module = Convolutional().train()
    state = {name: value.clone() for name, value in module.state_dict().items()}
    example = (torch.randn(1, 3, 8, 8), torch.randn(1, 8))
    model, names = export_module(module, example)
    assert capfd.readouterr() == ("", "")
    assert all(part.training for part in module.modules())
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    assert names["conv.weight"] == ("conv.weight",)
    assert names["head.weight"] == ("head.weight",)
    assert [spec.shape[0] for spec in input_specs(model)] == ["batch", "batch"]
    assert not any(node.metadata_props for node in model.graph.node)
    for count in (1, 3):
        compare(run, model, module, [repeated(tensor, count) for tensor in example])


def test_recurrent_weights_are_recognized(run):
    module = Recurrent()
    model, names = export_module(module, torch.randn(2, 5, 4))
    compare(run, model, module, [torch.randn(3, 5, 4)])
    held = {name for parameters in names.values() for name in parameters}
    assert held == set(dict(module.named_parameters()))
    assert ("lstm.weight_ih_l0", "lstm.weight_ih_l0_reverse") in names.values()


def test_transformer_by_keyword_and_fixed_batch(run):
    module = Patches()
    example = torch.randn(1, 3, 16, 16)
    model, names = export_module(module, {"image": example}, dynamic_shapes=False)
    assert input_specs(model)[0].shape == (1, 3, 16, 16)
    compare(run, model, module, [example])
    held = {name for parameters in names.values() for name in parameters}
    assert {"embed.weight", "layer.linear1.weight", "layer.self_attn.in_proj_weight", "head.bias"} <= held


def test_what_cannot_be_exported_is_one_sentence(capfd):
    class Branching(torch.nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(ModelError, match="Branching cannot be exported") as caught:
        export_module(Branching(), torch.randn(2, 3))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("example", [None, (), {}, [np.ones(3)], "text"])
def test_wrong_examples(example):
    with pytest.raises(ConfigError, match="example input"):
        export_module(Recurrent(), example)


def test_wrong_module():
    with pytest.raises(ConfigError, match=r"torch\.nn\.Module"):
        export_module(object(), torch.randn(1))


def test_without_torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ConfigError, match=r"pip install autocompress\[torch\]"):
        export_module(object(), None)
