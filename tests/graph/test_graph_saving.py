from __future__ import annotations

import errno
import os
import stat

import onnx
import pytest

from autocompress import files
from autocompress.errors import ModelError, StorageError
from autocompress.graph import saving
from autocompress.graph.model import copy_model, fingerprint, load_model, model_bytes, save_model, size_bytes


def test_round_trip_and_ir_version(network, tmp_path):
    path = save_model(network, tmp_path / "new" / "m.onnx")
    assert network.ir_version == 8
    assert onnx.load(path).ir_version == 10
    assert fingerprint(load_model(path)) == fingerprint(network)
    assert size_bytes(path) == path.stat().st_size


def test_same_model_same_bytes(network, tmp_path):
    first = save_model(network, tmp_path / "a.onnx").read_bytes()
    second = save_model(copy_model(network), tmp_path / "b.onnx").read_bytes()
    assert first == second


def test_newer_opsets_get_the_ir_version_they_need(network_at, tmp_path):
    model = network_at(23)
    path = save_model(model, tmp_path / "m.onnx")
    assert onnx.load(path).ir_version == 11


def test_never_over_the_source(network, tmp_path):
    source = save_model(network, tmp_path / "m.onnx")
    before = source.read_bytes()
    linked = tmp_path / "link.onnx"
    os.symlink(source, linked)
    for path in (source, tmp_path / "." / "m.onnx", linked):
        with pytest.raises(StorageError, match="never overwritten"):
            save_model(network, path, source=source)
    assert source.read_bytes() == before
    save_model(network, tmp_path / "other.onnx", source=source)


def test_a_folder_is_no_place(network, tmp_path):
    with pytest.raises(StorageError, match="folder"):
        save_model(network, tmp_path)


def test_parent_is_a_file(network, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="cannot be written"):
        save_model(network, tmp_path / "file" / "m.onnx")


def test_full_disk_leaves_everything_as_it_was(network, tmp_path, monkeypatch):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"precious")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        save_model(network, path)
    assert path.read_bytes() == b"precious"
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


def test_usual_permissions(network, tmp_path):
    path = save_model(network, tmp_path / "m.onnx")
    (tmp_path / "plain").write_text("x")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_too_large_for_one_message(network, monkeypatch):
    monkeypatch.setattr(saving, "ONE_FILE_LIMIT_BYTES", 100)
    with pytest.raises(ModelError, match="2 GB"):
        model_bytes(network)


def test_external_weights_are_aligned_and_deterministic(network, tmp_path):
    files = []
    for folder in ("a", "b"):
        path = save_model(network, tmp_path / folder / "m.onnx", one_file_limit_bytes=0)
        files.append((path.read_bytes(), path.with_name("m.onnx.data").read_bytes()))
        stored = onnx.load(path, load_external_data=False)
        offsets = [int(e.value) for w in stored.graph.initializer for e in w.external_data if e.key == "offset"]
        assert offsets
        assert all(offset % 4096 == 0 for offset in offsets)
    assert files[0] == files[1]


def test_weights_beyond_the_limit_go_beside_the_file(network, tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "ONE_FILE_LIMIT_BYTES", 1500)
    path = save_model(network, tmp_path / "m.onnx", one_file_limit_bytes=1500)
    assert path.with_name("m.onnx.data").stat().st_size > 1500
    assert fingerprint(load_model(path)) == fingerprint(network)
