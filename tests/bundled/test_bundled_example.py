from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import yaml

import autocompress.bundled as bundled
from autocompress.bundled import bundled_example
from autocompress.bundled.digits import Part, enlarge, split_digits
from autocompress.bundled.train import SEED
from autocompress.errors import AutocompressError

EXAMPLE = bundled_example()


def test_the_model_is_small_plain_onnx() -> None:
    assert EXAMPLE.model.stat().st_size < 2_000_000
    model = onnx.load(str(EXAMPLE.model))
    onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version in (17, 18)
    assert model.ir_version == 10
    assert [i.name for i in model.graph.input] == ["image"]
    assert [o.name for o in model.graph.output] == ["logits"]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}


def test_the_model_tells_nothing_about_the_machine_that_made_it() -> None:
    model = onnx.load(str(EXAMPLE.model))
    assert not model.metadata_props
    assert not model.doc_string
    assert not any(node.doc_string or node.metadata_props for node in model.graph.node)
    assert not any("/" in node.name for node in model.graph.node)
    names = [node.name for node in model.graph.node]
    assert "stage1.block0.conv1" in names
    assert len(set(names)) == len(names)


def test_held_out_accuracy_through_onnx_runtime() -> None:
    logits, labels = _logits()
    assert len(labels) >= 700
    assert float((logits.argmax(1) == labels).mean()) > 0.98


def test_the_weights_make_no_denormals_and_use_a_sane_range() -> None:
    logits, _ = _logits()
    assert np.isfinite(logits).all()
    for tensor in onnx.load(str(EXAMPLE.model)).graph.initializer:
        values = np.abs(onnx.numpy_helper.to_array(tensor))
        assert values.max() < 10
        assert float((values[values > 0] < np.finfo(np.float32).tiny).mean()) == 0, tensor.name


def test_the_work_is_worth_a_speedup() -> None:
    """Multiply-adds stand in for time, which tests do not measure: over 60 million take a millisecond anywhere."""
    model = onnx.shape_inference.infer_shapes(onnx.load(str(EXAMPLE.model)))
    weights = {t.name: t.dims for t in model.graph.initializer}
    sizes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.value_info}
    macs = [
        int(np.prod(weights[node.input[1]])) * sizes[node.output[0]][2] * sizes[node.output[0]][3]
        for node in model.graph.node
        if node.op_type == "Conv"
    ]
    assert 60e6 < sum(macs) < 160e6


def test_the_data_is_exactly_what_was_held_out_from_training() -> None:
    training, held_out = split_digits(SEED)
    with np.load(EXAMPLE.data, allow_pickle=False) as data:
        assert sorted(data.files) == ["image", "labels"]
        assert data["image"].dtype == np.uint8
        assert data["labels"].dtype == np.int64
        np.testing.assert_array_equal(data["image"], held_out.image)
        np.testing.assert_array_equal(data["labels"], held_out.labels)
    assert not set(training.index) & set(held_out.index)
    assert len(training.index) + len(held_out.index) == 1797
    seen = {image.tobytes() for image in training.image}
    assert not any(image.tobytes() in seen for image in held_out.image)


def test_every_class_is_held_out_in_its_share() -> None:
    _, held_out = split_digits(SEED)
    assert np.bincount(held_out.labels).min() >= 75


def test_enlarging_keeps_the_extremes_and_interpolates_between() -> None:
    image = np.zeros((1, 8, 8))
    image[0, :, 4:] = 16
    large = enlarge(image)
    assert large.shape == (1, 1, 32, 32)
    assert large.dtype == np.uint8
    assert (large.min(), large.max()) == (0, 255)
    assert (np.diff(large[0, 0, 0].astype(int)) >= 0).all()
    assert 0 < large[0, 0, 0, 16] < 255


def test_a_broken_installation_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "FOLDER", tmp_path)
    with pytest.raises(AutocompressError, match=r"digits_resnet\.onnx is missing"):
        bundled_example()


def test_the_onnx_graph_computes_what_the_network_computes() -> None:
    torch = pytest.importorskip("torch")
    from autocompress.bundled.export import to_onnx
    from autocompress.bundled.network import ConvNorm, DigitsResNet

    torch.manual_seed(3)
    network = DigitsResNet()
    for module in network.modules():
        if isinstance(module, ConvNorm):
            torch.nn.init.uniform_(module.norm.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.norm.running_var, 0.5, 2.0)
            torch.nn.init.uniform_(module.norm.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.norm.bias, -0.5, 0.5)
    network.eval()
    image = torch.rand(2, 1, 32, 32) * 2 - 1
    session = ort.InferenceSession(to_onnx(network).SerializeToString(), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = network(image).numpy()
    np.testing.assert_allclose(session.run(None, {"image": image.numpy()})[0], expected, rtol=1e-4, atol=1e-5)


def test_the_training_command_writes_the_three_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    from autocompress.bundled import train

    def few(seed: int) -> tuple[Part, ...]:
        parts = zip(split_digits(seed), (100, 40), strict=True)
        return tuple(Part(part.image[:n], part.labels[:n], part.index[:n]) for part, n in parts)

    monkeypatch.setattr(train, "split_digits", few)
    train.main([str(tmp_path), "--epochs", "1"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["digits.npz", "digits_resnet.onnx", "preprocess.yaml"]
    assert '"training_samples": 100' in capsys.readouterr().out
    with np.load(tmp_path / "digits.npz", allow_pickle=False) as data:
        assert len(data["image"]) == len(data["labels"]) == 40


def _logits() -> tuple[np.ndarray, np.ndarray]:
    preprocess = yaml.safe_load(EXAMPLE.preprocess.read_text())
    with np.load(EXAMPLE.data, allow_pickle=False) as data:
        image, labels = data["image"], data["labels"]
    feeds = {"image": image.astype(np.float32) * np.float32(preprocess["scale"]) + np.float32(preprocess["bias"])}
    session = ort.InferenceSession(str(EXAMPLE.model), providers=["CPUExecutionProvider"])
    return session.run(["logits"], feeds)[0], labels
