import os
import time
import zipfile

import numpy as np
import pytest

from autocompress.data import spool
from autocompress.data.npz import open_npz
from autocompress.errors import DataError

RNG = np.random.default_rng(0)
BIG = RNG.integers(0, 255, (400, 64, 64), dtype=np.uint8)  # above the size that stays in memory


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_are_read_row_by_row(tmp_path, save, order):
    small = RNG.standard_normal((7, 3))
    save(
        tmp_path / "d.npz", big=np.asarray(BIG, order=order), small=np.asarray(small, order=order), scalar=np.float32(2)
    )
    arrays, notices = open_npz(tmp_path / "d.npz")
    assert notices == ()
    assert {name: rows.shape for name, rows in arrays.items()} == {"big": BIG.shape, "small": (7, 3), "scalar": ()}
    np.testing.assert_array_equal(arrays["big"].rows([3, 4, 399, 0]), BIG[[3, 4, 399, 0]])
    np.testing.assert_array_equal(arrays["small"].rows([6, 0]), small[[6, 0]])
    assert arrays["scalar"].whole() == 2


def test_stored_arrays_need_no_copy_and_compressed_ones_are_unpacked_once(tmp_path, cache_dir):
    np.savez(tmp_path / "stored.npz", x=BIG)
    open_npz(tmp_path / "stored.npz")[0]["x"].rows([0])
    assert list(cache_dir.rglob("*.npy")) == []
    np.savez_compressed(tmp_path / "packed.npz", x=BIG)
    open_npz(tmp_path / "packed.npz")[0]["x"].rows([0])
    (unpacked,) = cache_dir.rglob("*.npy")
    before = unpacked.stat().st_mtime_ns
    np.testing.assert_array_equal(open_npz(tmp_path / "packed.npz")[0]["x"].rows([9]), BIG[[9]])
    assert unpacked.stat().st_mtime_ns == before
    assert [p.name for p in cache_dir.rglob("*.partial*")] == []


def test_a_changed_file_is_unpacked_anew(tmp_path):
    path = tmp_path / "d.npz"
    np.savez_compressed(path, x=BIG)
    open_npz(path)[0]["x"].rows([0])
    np.savez_compressed(path, x=255 - BIG)
    np.testing.assert_array_equal(open_npz(path)[0]["x"].rows([5]), 255 - BIG[[5]])


def test_the_file_itself_is_never_changed(tmp_path):
    path = tmp_path / "d.npz"
    np.savez_compressed(path, x=BIG)
    before = path.read_bytes()
    open_npz(path)[0]["x"].rows([0])
    assert path.read_bytes() == before


def test_damage_is_found(tmp_path):
    path = tmp_path / "d.npz"
    np.savez_compressed(path, x=BIG)
    content = bytearray(path.read_bytes())
    with pytest.raises(DataError, match="does not exist"):
        open_npz(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(DataError, match=r"no \.npz file"):
        open_npz(tmp_path / "text.npz")
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="truncated"):
        open_npz(path)
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        open_npz(path)[0]["x"].rows([0])


def test_objects_and_foreign_members(tmp_path):
    np.savez(tmp_path / "o.npz", x=np.array([{}], dtype=object))
    with pytest.raises(DataError, match="Python objects"):
        open_npz(tmp_path / "o.npz")
    with zipfile.ZipFile(tmp_path / "z.npz", "w") as archive:
        archive.writestr("read.me", "text")
    with pytest.raises(DataError, match="no arrays"):
        open_npz(tmp_path / "z.npz")
    np.savez(tmp_path / "m.npz", x=np.zeros(3))
    with zipfile.ZipFile(tmp_path / "m.npz", "a") as archive:
        archive.writestr("read.me", "text")
    assert "read.me" in open_npz(tmp_path / "m.npz")[1][0]


def test_a_full_disk_is_an_error_that_names_the_way_out(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "d.npz", x=BIG)
    monkeypatch.setattr(spool.shutil, "disk_usage", lambda _: _Usage)
    with pytest.raises(DataError, match=spool.CACHE_VARIABLE):
        open_npz(tmp_path / "d.npz")[0]["x"].rows([0])


class _Usage:
    free = 1 << 20


def test_the_cache_drops_the_least_recently_used(cache_dir):
    ages = {"old": 3 * 3600, "older": 5 * 3600, "busy": 10}
    for name, age in ages.items():
        folder = cache_dir / "samples" / name
        folder.mkdir(parents=True)
        (folder / "a.npy").write_bytes(b"x" * 1000)
        os.utime(folder, (time.time() - age,) * 2)
    spool.drop_old_entries(keep=cache_dir / "samples" / "new", needed_bytes=500, limit_bytes=2600)
    assert sorted(p.name for p in (cache_dir / "samples").iterdir()) == ["busy", "old"]
    spool.drop_old_entries(keep=cache_dir / "samples" / "new", needed_bytes=5000, limit_bytes=2600)
    assert [p.name for p in (cache_dir / "samples").iterdir()] == ["busy"]


def test_an_unwritable_cache_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(spool.CACHE_VARIABLE, str(tmp_path / "file"))
    with pytest.raises(DataError, match=spool.CACHE_VARIABLE):
        spool.cache_folder()
