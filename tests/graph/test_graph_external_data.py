from __future__ import annotations

import os

import onnx
import pytest

from autocompress.errors import ModelError
from autocompress.graph.model import fingerprint, load_model, save_model, size_bytes


@pytest.fixture
def external(network, tmp_path):
    folder = tmp_path / "model"
    return save_model(network, folder / "m.onnx", one_file_limit_bytes=0)


def relocate(path, key, value):
    model = onnx.load(path, load_external_data=False)
    for weight in model.graph.initializer:
        for entry in weight.external_data:
            if entry.key == key:
                entry.value = value
    onnx.save(model, path)


def refused(path, *words):
    with pytest.raises(ModelError) as caught:
        load_model(path)
    for word in words:
        assert word in str(caught.value), str(caught.value)


def test_external_data_is_loaded_and_identity_is_kept(network, external):
    stored = onnx.load(external, load_external_data=False)
    assert any(weight.external_data for weight in stored.graph.initializer)
    loaded = load_model(external)
    assert fingerprint(loaded) == fingerprint(network)
    assert not any(weight.external_data for weight in loaded.graph.initializer)


def test_stock_onnx_reads_what_we_write(network, external, run):
    import numpy as np

    feeds = {"x": np.random.default_rng(1).normal(size=(2, 3, 8, 8)).astype(np.float32)}
    np.testing.assert_array_equal(run(str(external), feeds)[0], run(network, feeds)[0])
    assert fingerprint(onnx.load(external)) == fingerprint(network)


def test_size_counts_every_file(external):
    data = external.with_name("m.onnx.data")
    assert data.stat().st_size > 0
    assert size_bytes(external) == external.stat().st_size + data.stat().st_size


def test_missing_data_file(external):
    external.with_name("m.onnx.data").unlink()
    refused(external, "missing", "m.onnx.data", "'w'")


def test_short_data_file(external):
    data = external.with_name("m.onnx.data")
    data.write_bytes(data.read_bytes()[:-8])
    refused(external, "too short")


@pytest.mark.parametrize(
    "location", ["../secret.bin", "/etc/hostname", "a/../../secret.bin", "..\\secret.bin", "C:\\x", ""]
)
def test_places_outside_the_folder(external, location):
    (external.parent.parent / "secret.bin").write_bytes(b"\0" * 100_000)
    relocate(external, "location", location)
    refused(external, "outside the model's folder")


def test_a_link_that_leaves_the_folder(external):
    data = external.with_name("m.onnx.data")
    hidden = external.parent.parent / "elsewhere.bin"
    data.rename(hidden)
    os.symlink(hidden, data)
    refused(external, "outside the model's folder")


def test_a_model_that_is_itself_a_link_into_a_store(external, tmp_path, network):
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    for name in ("m.onnx", "m.onnx.data"):
        os.symlink(external.parent / name, snapshot / name)
    assert fingerprint(load_model(snapshot / "m.onnx")) == fingerprint(network)


@pytest.mark.parametrize(("key", "value"), [("offset", "-1"), ("offset", "many"), ("length", "12")])
def test_malformed_references(external, key, value):
    relocate(external, key, value)
    refused(external, "'w'")


def test_in_memory_model_without_its_data(external):
    with pytest.raises(ModelError, match="external data"):
        load_model(onnx.load(external, load_external_data=False))
