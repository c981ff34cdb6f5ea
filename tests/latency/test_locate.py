"""Finding tables and predictors, and those that ship."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from autocompress.errors import TableError
from autocompress.latency import locate
from autocompress.latency.device import Device
from autocompress.latency.held_out_models import whole_models
from autocompress.latency.locate import (
    cached_table_path,
    find_table,
    forced_table,
    own_tables,
    read_header,
    shipped_folder,
    shipped_predictors_folder,
    shipped_table,
    shipped_tables,
    user_cache,
)
from autocompress.latency.predictor import load_predictors
from autocompress.latency.roofline import Roofline
from autocompress.latency.table import LatencyTable, TableHeader

SHIPPED = list(shipped_tables())
DEVICE = Device("amd", "1-2", "none such", ("avx2",), 1)
HEADER = TableHeader(DEVICE, "onnxruntime", "1.0", 1, "cpu", "2025-01-01", "a command")


def test_something_ships() -> None:
    assert SHIPPED


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_a_shipped_table_is_sound_and_says_where_it_comes_from(path: Path) -> None:
    table = LatencyTable.load(path)
    header = table.header
    assert path.stem == header.stem
    assert header.command
    assert header.date
    assert header.device.isa
    Roofline.from_constants(header.constants)
    assert len(table) > 1000
    # What could not be timed stays in the table with its reason: recurrent models on OpenVINO, above all.
    assert sum(record.valid for record in table) > 0.95 * len(table)
    assert path.stat().st_size < 4e6
    assert not list(path.parent.glob("*.journal"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_shipped_predictors_belong_to_their_table(path: Path) -> None:
    folder = shipped_predictors_folder(read_header(path))
    assert folder is not None
    predictors = load_predictors(folder, path)
    assert len(predictors.families) >= 12
    assert predictors.composition.models >= 12
    signatures = [record.signature for record in LatencyTable.load(path)][:200]
    assert sum(p is not None and 0 < p.low_us < p.latency_us < p.high_us for p in predictors.predict(signatures)) > 190
    assert len(whole_models(LatencyTable.load(path))) == predictors.composition.models


def test_the_catalogue_of_predictors_and_the_folder_agree() -> None:
    folder = shipped_folder("predictors")
    text = (folder / "README.md").read_text()
    present = {path.name for path in folder.iterdir() if path.is_dir()}
    catalogue = text.split("\n| --- ", 1)[1].split("\n\n", 1)[0]
    listed = {line.split("`")[1] for line in catalogue.splitlines() if line.startswith("| `")}
    assert listed == present


def test_a_table_is_found_for_its_own_device_runtime_version_and_threads_only() -> None:
    header = read_header(SHIPPED[0])
    found = shipped_table(header)
    assert found is not None
    assert found.path == SHIPPED[0]
    assert found.notices == ()
    for other in (
        replace(header, threads=7),
        replace(header, runtime="other"),
        replace(header, runtime_version="0"),
        replace(header, device=DEVICE),
    ):
        assert shipped_table(other) is None
        assert shipped_predictors_folder(other) is None


def test_a_forced_table_says_what_does_not_fit() -> None:
    located = forced_table(SHIPPED[0], HEADER)
    assert len(located.notices) >= 2
    assert all("estimates may be wrong here" in notice for notice in located.notices)
    assert forced_table(SHIPPED[0], read_header(SHIPPED[0])).notices == ()


def test_the_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("AUTOCOMPRESS_CACHE", raising=False)
    assert user_cache() == tmp_path / "autocompress"
    monkeypatch.setenv("AUTOCOMPRESS_CACHE", str(tmp_path / "own"))
    assert cached_table_path(HEADER) == tmp_path / "own" / "latency_tables" / f"{HEADER.stem}.jsonl"


def test_data_is_found_in_an_installed_package_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "site" / "autocompress"
    (package / "_data" / "latency_tables").mkdir(parents=True)
    monkeypatch.setattr(locate, "_PACKAGE", package)
    assert shipped_folder("latency_tables") == package / "_data" / "latency_tables"
    assert shipped_folder("predictors") == tmp_path / "site" / "predictors"


def test_tables_are_found_by_path_and_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AUTOCOMPRESS_CACHE", str(tmp_path / "cache"))
    own = cached_table_path(HEADER)
    LatencyTable(HEADER).save(own)
    LatencyTable(HEADER).save(own.with_name(SHIPPED[0].name))  # hidden behind the one that ships
    for beside in ("t.models.jsonl", "t.jsonl.journal", "t.jsonl.set-aside", "t.jsonl.lock"):
        own.with_name(beside).touch()
    assert sorted(path.name for path in own_tables()) == sorted([own.name, SHIPPED[0].name])
    assert find_table(HEADER.stem) == find_table(own.name) == find_table(own) == find_table(str(own)) == own
    assert find_table(SHIPPED[0].stem) == SHIPPED[0]
    for strange in ("none", "t", tmp_path, "t.models.jsonl"):
        with pytest.raises(TableError, match=f"there is no latency table '{strange}'; see 'autocompress table list'"):
            find_table(strange)


def test_a_file_without_a_header_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps({"key": "x"}))
    with pytest.raises(TableError, match="no header"):
        read_header(path)
    path.write_text(HEADER.to_line().replace('"schema":2', '"schema":9'))
    with pytest.raises(TableError, match=r"t\.jsonl has schema 9, newer than 2"):
        read_header(path)
    path.write_text(HEADER.to_line().replace('"threads":1', '"threads":-1'))
    with pytest.raises(TableError, match=r"t\.jsonl has a malformed header .threads is -1"):
        read_header(path)
    path.write_text(HEADER.to_line())
    assert read_header(path) == HEADER
    with pytest.raises(TableError, match="cannot read"):
        read_header(tmp_path / "none.jsonl")
