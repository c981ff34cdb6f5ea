import multiprocessing
import os
import pickle
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from autocompress.data import DataSpec, ModelInput, data_spec, open_source
from autocompress.errors import DataError

X = [ModelInput("x", "float32", ("N", 4))]
ARRAY = np.random.default_rng(0).standard_normal((10, 4)).astype(np.float32)


def one_by_one():
    for k in range(10):
        yield {"x": ARRAY[k], "labels": k}


def in_batches():
    for start in range(0, 10, 4):
        part = ARRAY[start : start + 4]
        yield {"x": part, "labels": np.arange(start, start + len(part)), "sigma": 25.0}


def as_dict():
    return {"x": ARRAY, "labels": np.arange(10), "boxes/all": np.ones((3, 5))}


@pytest.mark.parametrize(
    "data", [one_by_one, in_batches, as_dict, as_dict()], ids=["samples", "batches", "dict", "raw"]
)
def test_every_form_gives_the_same_samples(data):
    opened = open_source(data_spec(data, model_inputs=X), X)
    assert len(opened) == 10
    np.testing.assert_array_equal(opened.inputs([9, 0])["x"], ARRAY[[9, 0]])
    np.testing.assert_array_equal(opened.labels(range(10)), np.arange(10))


def test_arrays_that_are_not_per_sample_stay_whole():
    assert open_source(data_spec(in_batches, model_inputs=X), X).extras([3])["sigma"] == 25.0
    assert open_source(data_spec(as_dict), X).extras([3])["boxes/all"].shape == (3, 5)


def test_torch_tensors_are_arrays():
    torch = pytest.importorskip("torch")
    opened = open_source(data_spec(lambda: ({"x": torch.ones(4)} for _ in range(3)), model_inputs=X), X)
    np.testing.assert_array_equal(opened.inputs([2])["x"], np.ones((1, 4)))


def _read_in_child(spec, queue):
    queue.put(open_source(spec, X).inputs([5])["x"].tolist())


def test_the_spec_is_small_and_opens_in_a_spawned_process():
    spec = data_spec(one_by_one, model_inputs=X)
    assert len(pickle.dumps(spec)) < 1000
    assert isinstance(hash(spec), int)
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    child = context.Process(target=_read_in_child, args=(spec, queue))
    child.start()
    assert queue.get(timeout=60) == ARRAY[[5]].tolist()
    child.join()
    assert open_source(spec, X).inputs([5])["x"].tolist() == ARRAY[[5]].tolist()  # the child removed nothing


def test_named_functions_are_imported_from_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "my_samples.py").write_text(
        "import numpy\ndef load():\n    return {'x': numpy.ones((5, 4))}\nnumber = 3\n"
    )
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    spec = data_spec("my_samples:load", model_inputs=X)
    assert (spec.label, len(open_source(spec, X))) == ("my_samples:load", 5)
    assert sys.path == before
    with pytest.raises(DataError, match="no function 'number'"):
        data_spec("my_samples:number")
    with pytest.raises(DataError, match="no module 'nowhere'"):
        data_spec("nowhere:load")


def _raises():
    yield {"x": ARRAY[0]}
    raise RuntimeError("sensor unplugged")


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (lambda: 3, "returned int"),
        (lambda: iter([(ARRAY[0], 1)]), "is tuple: give dicts"),
        (lambda: iter([]), "gave no samples"),
        (_raises, "RuntimeError: sensor unplugged"),
        (lambda: 1 / 0, "ZeroDivisionError"),
        (lambda: iter([{"x": ARRAY[0]}, {"z": ARRAY[0]}]), "Item 1 .* other arrays"),
        (lambda: iter([{"x": ARRAY[0]}, {"x": ARRAY[0, :2]}]), "changes at item 1"),
        (lambda: iter([{"x": ARRAY[:2], "labels": np.arange(2)}, {"x": ARRAY[:2], "labels": np.arange(3)}]), "rows"),
        (lambda: iter([{"x": np.zeros((2, 2, 2))}]), "do not fit"),
        ({"x": [object()]}, "arrays of numbers"),
        ({"x": [[1, 2], [3]]}, "could not be turned into an array"),
        ({}, "no arrays"),
        ({3: ARRAY}, "must be text"),
        (7, "not int"),
    ],
)
def test_mistakes_are_named(data, match, cache_dir):
    with pytest.raises(DataError, match=match):
        data_spec(data, model_inputs=X)
    assert list(cache_dir.rglob("*.partial")) == []


def test_missing_paths(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        data_spec(tmp_path / "none.npz")
    with pytest.raises(DataError, match="gone"):
        open_source(DataSpec("spool", str(tmp_path)), X)


def test_folders_go_away_with_the_process_that_made_them(tmp_path, cache_dir):
    script = textwrap.dedent("""
        import os, numpy
        from autocompress.data import data_spec
        spec = data_spec({"x": numpy.ones((5, 4))})
        print(spec.path, flush=True)
        if os.fork() == 0:
            raise SystemExit(0)  # runs exit handlers in a child that does not own the folder
        os.wait()
        print(os.path.isdir(spec.path), flush=True)
    """)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=os.environ)
    path, there = done.stdout.split()
    assert there == "True"
    assert not os.path.exists(path)


def test_folders_of_killed_processes_are_swept(cache_dir):
    script = (
        "import os, numpy\nfrom autocompress.data import data_spec\ndata_spec({'x': numpy.ones((5, 4))})\nos._exit(9)"
    )
    subprocess.run([sys.executable, "-c", script], check=False, env=os.environ)
    sessions = cache_dir / "sessions"
    (left,) = sessions.iterdir()
    data_spec({"x": ARRAY})
    assert not left.exists()
    assert len(list(sessions.iterdir())) == 1


def test_memory_does_not_grow_with_the_samples(tmp_path):
    script = textwrap.dedent("""
        import resource, sys, zipfile, numpy
        from autocompress.data import ModelInput, data_spec, open_source
        inputs = [ModelInput("x", "float32", ("N", 3, 64, 64))]
        opened = open_source(data_spec(sys.argv[1]), inputs)
        opened.inputs([0])
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for start in range(0, len(opened), 16):
            opened.inputs(range(start, min(start + 16, len(opened))))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """)
    rows = np.tile(np.arange(96, dtype=np.uint8), (6000, 128)).reshape(6000, 3, 64, 64)  # 74 MB, quickly compressed
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "d.npz", x=rows)
        done = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / "d.npz")], capture_output=True, text=True, check=True
        )
        assert int(done.stdout) < 20_000  # kB
