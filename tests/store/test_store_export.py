from __future__ import annotations

import json
import os

import pytest

from autocompress.errors import StorageError
from autocompress.measurement import Interval, MeasuredDrop


def test_export_holds_everything_in_plain_json(store, new_study, candidate, tmp_path):
    store.create_study(new_study())
    drop = MeasuredDrop(0.01, Interval(0.0, 0.02), 400, "paired-t")
    store.record_candidates("mobilenet", [candidate(0, search_drop=drop, damage=float("inf"))])
    store.record_event("mobilenet", "search", "wörking")
    path = tmp_path / "study.json"
    path.write_text("old")
    store.export_study("mobilenet", path)
    document = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert document["autocompress_study"] == 1
    assert document["name"] == "mobilenet"
    assert document["config"]["target_speedup"] == 2.0
    assert document["candidates"][0]["search_drop"]["ci95"] == {"low": 0.0, "high": 0.02}
    assert document["candidates"][0]["damage"] is None
    assert document["events"][0]["message"] == "wörking"
    assert sorted(os.listdir(tmp_path)) == ["autocompress.db", "study.json"]


def test_export_to_nowhere(store, new_study, tmp_path):
    store.create_study(new_study())
    with pytest.raises(StorageError, match="cannot be written"):
        store.export_study("mobilenet", tmp_path / "absent" / "study.json")
    with pytest.raises(StorageError, match="cannot be written"):
        store.export_study("mobilenet", tmp_path)
    assert os.listdir(tmp_path) == ["autocompress.db"]
