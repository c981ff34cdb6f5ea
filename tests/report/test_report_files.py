"""Every format, for every kind of study, whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import os
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from autocompress.errors import ConfigError, StorageError
from autocompress.report import FORMATS, write_report
from autocompress.report.table_csv import COLUMNS, trials_csv
from autocompress.store import CandidateRecord


def failed(trial: int, cause: str | None = "it crashed\nbadly") -> CandidateRecord:
    return CandidateRecord(trial, "ab", [{"step": "fold"}], "explore", "failed", cause=cause)


@pytest.fixture
def studies(met, missed, reported):
    one = tuple(c for c in met.record.candidates if c.search_drop)[:1]
    return {
        "met": met,
        "missed": missed,
        "none": reported(bare=True, status="running"),
        "one": reported((replace(one[0], trial=0),)),
        "failures": reported((failed(0), failed(1), failed(2, None)), status="complete", model="best.onnx"),
    }


@pytest.mark.parametrize("name", ["met", "missed", "none", "one", "failures"])
def test_every_format_of_every_study(studies, name, tmp_path):
    found = studies[name]
    written = write_report(found.record, found.summary, FORMATS, tmp_path / "out")
    assert sorted(os.listdir(tmp_path / "out")) == [
        "pareto.png",
        "report.html",
        "report.json",
        "report.md",
        "trials.csv",
    ]
    document = json.loads(written["json"].read_text(), parse_constant=pytest.fail)
    assert len(document["study"]["candidates"]) == len(found.record.candidates)
    with Image.open(written["png"]) as picture:
        assert picture.size[0] >= 1000
        assert len(np.unique(np.asarray(picture.convert("L")))) > 20
    table = pd.read_csv(written["csv"])
    assert list(table.columns) == list(COLUMNS)
    assert len(table) == len(found.record.candidates)
    assert written["md"].read_text().startswith("# mobilenetv2.onnx\n\n**")


def test_csv_holds_full_precision_and_no_false_values(met):
    rows = list(csv.DictReader(io.StringIO(trials_csv(met.record.candidates))))
    for row, c in zip(rows, met.record.candidates, strict=True):
        assert int(row["trial"]) == c.trial
        assert row["search_drop"] == ("" if c.search_drop is None else repr(c.search_drop.drop))
        assert row["verified_speedup"] == ("" if c.verified_speedup is None else repr(c.verified_speedup.speedup))
        assert json.loads(row["recipe"]) == c.recipe
    hostile = failed(0, 'a "quoted", multi\nline cause')
    (row,) = csv.DictReader(io.StringIO(trials_csv([hostile])))
    assert row["cause"] == hostile.cause


def test_markdown_tables_survive_odd_names(met):
    from autocompress.report.markdown import report_markdown

    summary = {**met.summary, "metric": "a|b `c` <d>", "notices": ["line\nbreak"]}
    text = report_markdown(met.record, summary)
    assert r"a\|b \`c\` \<d\>" in text
    assert "> line break" in text
    rows = [line for line in text.splitlines() if line.startswith("| a")]
    assert len(rows) == 1
    assert rows[0].replace(r"\|", "").count("|") == 6


def test_the_picture_is_reproducible(met):
    from autocompress.report.png import pareto_png

    assert pareto_png(met.record, met.summary) == pareto_png(met.record, met.summary)


def test_the_picture_leaves_pyplot_alone(met):
    import sys

    from autocompress.report.png import pareto_png

    pareto_png(met.record, met.summary)
    if "matplotlib.pyplot" in sys.modules:
        assert sys.modules["matplotlib.pyplot"].get_fignums() == []


def test_bad_formats_write_nothing(met, tmp_path):
    for formats in (["html", "docx"], []):
        with pytest.raises(ConfigError, match="html, png, csv, json, md"):
            write_report(met.record, met.summary, formats, tmp_path / "out")
    assert os.listdir(tmp_path) == []


def test_unwritable_places(met, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be made"):
        write_report(met.record, met.summary, ["csv"], tmp_path / "file")
    (tmp_path / "trials.csv").mkdir()
    with pytest.raises(StorageError, match="cannot be written"):
        write_report(met.record, met.summary, ["csv"], tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["file", "trials.csv"]
