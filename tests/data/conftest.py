import pytest

from autocompress.data import spool


@pytest.fixture(autouse=True)
def cache_dir(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv(spool.CACHE_VARIABLE, str(folder))
    return folder
