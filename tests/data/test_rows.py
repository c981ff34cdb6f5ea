import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autocompress.data.rows import MemoryRows, RowWriter, open_npy
from autocompress.errors import DataError


@settings(max_examples=30, deadline=None)
@given(indices=st.lists(st.integers(0, 19), max_size=30), shape=st.sampled_from([(), (3,), (2, 5), (0,)]))
def test_rows_equal_fancy_indexing(tmp_path_factory, indices, shape):
    array = np.random.default_rng(0).standard_normal((20, *shape)).astype(np.float32)
    path = tmp_path_factory.mktemp("rows") / "a.npy"
    np.save(path, array)
    rows = open_npy(path)
    np.testing.assert_array_equal(rows.rows(indices), array[np.array(indices, dtype=int)])
    np.testing.assert_array_equal(rows.whole(), array)


@pytest.mark.parametrize("dtype", ["uint8", "float16", ">f4", "int64", "bool", "<U5"])
def test_every_dtype_survives_writing_and_reading(tmp_path, dtype):
    array = np.arange(24).reshape(8, 3).astype(dtype)
    with RowWriter(tmp_path / "a.npy") as writer:
        for start in range(0, 8, 3):
            writer.append(array[start : start + 3])
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), array)
    rows = open_npy(tmp_path / "a.npy")
    assert rows.rows([1, 5]).dtype.isnative
    np.testing.assert_array_equal(rows.rows([1, 5]), array[[1, 5]])


def test_writer_leaves_nothing_after_an_error(tmp_path):
    def write():
        with RowWriter(tmp_path / "a.npy") as writer:
            writer.append(np.zeros((2, 3), np.float32))
            writer.append(np.zeros((2, 4), np.float32))

    with pytest.raises(ValueError, match="after"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_rows_outside_raise(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((4, 2)))
    with pytest.raises(IndexError):
        open_npy(tmp_path / "a.npy").rows([4])
    with pytest.raises(IndexError):
        open_npy(tmp_path / "a.npy").rows([-1])


def test_rows_can_be_pickled_while_open(tmp_path):
    array = np.arange(10.0)
    np.save(tmp_path / "a.npy", array)
    rows = open_npy(tmp_path / "a.npy")
    rows.rows([0])
    copy = pickle.loads(pickle.dumps(rows))
    np.testing.assert_array_equal(copy.rows([3, 4]), array[3:5])


def test_truncation_is_found_at_opening_and_while_reading(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.zeros(1000))
    content = path.read_bytes()
    rows = open_npy(path)
    path.write_bytes(content[:-100])
    with pytest.raises(DataError, match="cut short"):
        rows.rows([999])
    with pytest.raises(DataError, match="truncated"):
        open_npy(path)


def test_objects_and_records_are_refused(tmp_path):
    np.save(tmp_path / "o.npy", np.array([{}, 1], dtype=object), allow_pickle=True)
    np.save(tmp_path / "r.npy", np.zeros(3, dtype=[("a", "f4")]))
    with pytest.raises(DataError, match="Python objects"):
        open_npy(tmp_path / "o.npy")
    with pytest.raises(DataError, match="structured"):
        open_npy(tmp_path / "r.npy")


def test_memory_rows_give_copies():
    array = np.arange(6.0)
    rows = MemoryRows(array)
    rows.whole()[:] = 7
    rows.rows([0, 1])[:] = 7
    np.testing.assert_array_equal(array, np.arange(6.0))
