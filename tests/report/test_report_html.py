"""The page: what it says, that nothing in it can act, and that it needs nothing from anywhere."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from autocompress.measurement import EstimatedLatency, Interval, MeasuredDrop
from autocompress.report.html import report_html
from autocompress.report.html.markup import Cell, Column, Markup, element, escape, table
from autocompress.store import CandidateRecord, EventRecord, LayerRecord, OperatorRecord

EVIL = "</script><img src=x onerror=alert(1)>\"'&${x}"
VOID = {"meta", "input", "img", "br", "link"}


class Page(HTMLParser):
    """Checks nesting and collects elements."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def charts(text: str) -> dict[str, dict]:
    found = re.findall(r'<script type="application/json" data-chart="([^"]+)">(.*?)</script>', text, re.DOTALL)
    return {name: json.loads(data) for name, data in found}


def without_plotly(text: str) -> str:
    from plotly.offline import get_plotlyjs

    assert text.count(get_plotlyjs()) == 1
    return text.replace(get_plotlyjs(), "")


def test_the_story_is_told(met):
    page = Page(without_plotly(report_html(met.record, met.summary)))
    for expected in (
        "Target met: 2.05× faster, measured",
        "on 700 samples of the verification part",
        "64 samples for calibration, 400 samples for search, 700 samples for verification",
        "AMD EPYC 9R14",
        "5 the worker ended with signal 11",
        "autocompress apply recipe.json MODEL.onnx -o best.onnx",
        "drops below 0.7 points cannot be told apart there",
        "QLinearConv",
        "/features/7/conv",
        "Rank correlation",
        "9f2c1b7a9f2c1b7a",
    ):
        assert expected in page.text
    anchors = {attrs.get("id") for _, attrs in page.elements}
    links = {attrs["href"][1:] for tag, attrs in page.elements if tag == "a"}
    assert links <= anchors
    assert len(links) == 9


def test_nothing_comes_from_anywhere(met):
    text = without_plotly(report_html(met.record, met.summary))
    page = Page(text)
    assert "http" not in re.sub(r"http-equiv", "", text)
    loading = {"link", "iframe", "object", "embed", "img", "base", "form"}
    assert not [tag for tag, attrs in page.elements if tag in loading or "src" in attrs]
    (policy,) = [a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "form-action 'none'" in policy


def test_measured_and_estimated_never_share_a_trace(met):
    found = charts(report_html(met.record, met.summary))
    assert set(found) == {"pareto", "latency-agreement", "accuracy-agreement", "history"}
    by_name = {trace["name"]: trace for trace in found["pareto"]["data"]}
    candidates = met.record.candidates
    measured = by_name["search part: drop and latency measured"]
    predicted = by_name["predicted only: drop and latency estimated"]
    assert len(measured["x"]) == sum(c.search_speedup is not None for c in candidates)
    assert len(predicted["x"]) == sum(c.search_drop is None for c in candidates)
    assert sorted(measured["x"]) == sorted(c.search_speedup.speedup for c in candidates if c.search_speedup)
    verified = by_name["verified: held-out samples, timed in turns (95 %)"]
    assert verified["x"] == [c.verified_speedup.speedup for c in candidates if c.verified_speedup]
    expected = [100 * (c.verified_drop.ci95.high - c.verified_drop.drop) for c in candidates if c.verified_drop]
    assert verified["error_y"]["arrayminus"] == pytest.approx(expected)
    assert by_name["best: the emitted model"]["x"] == [2.05]
    lines = [s for s in found["pareto"]["layout"]["shapes"] if s["type"] == "line"]
    assert {line.get("x0") for line in lines} == {2.0, 0}
    assert {line.get("y0") for line in lines} == {-1.0, 0}
    hover = measured["text"][0]
    assert all(word in hover for word in ("trial", "drop", "latency", "size", "quantize"))


def test_hostile_names_are_only_text(reported):
    candidate = CandidateRecord(
        0,
        EVIL,
        [{"step": EVIL, "config": {EVIL: EVIL}}],
        "explore",
        "complete",
        cause=EVIL,
        predicted_drop=0.01,
        estimate=EstimatedLatency(3.0, Interval(2.8, 3.2), 1.0, 3),
        search_drop=MeasuredDrop(0.01, Interval(0.0, 0.02), 10, EVIL),
        artifact=EVIL,
    )
    failing = replace(candidate, trial=1, state="failed", search_drop=None, recipe=[{"step": EVIL, "x": [EVIL]}])
    fields = dict.fromkeys(("name", "model_path", "device", "runtime", "metric", "model_fingerprint"), EVIL)
    found = reported(
        (candidate, failing),
        stop_reason=EVIL,
        model=EVIL,
        recipe=EVIL,
        best=0,
        notices=[EVIL],
        config={EVIL: EVIL, "target_size": EVIL},
        versions={EVIL: EVIL},
        **fields,
    )
    record = replace(
        found.record,
        layers=(LayerRecord(EVIL, EVIL, 0.1, 1.0, True),),
        operators={"best": (OperatorRecord(EVIL, EVIL, EVIL, EVIL, EVIL, 1, 1, 1.0, EVIL, 1.0),)},
        events=(EventRecord(found.record.header.created, EVIL, EVIL),),
    )
    text = without_plotly(report_html(record, {**found.summary, "command": EVIL}))
    page = Page(text)
    assert "<img" not in text
    assert not [tag for tag, attrs in page.elements if tag == "img" or any(key.startswith("on") for key in attrs)]
    assert [tag for tag, _ in page.elements].count("script") == 2 + len(charts(text))
    assert page.text.count("onerror=alert(1)") >= 15
    assert "<img" not in json.dumps([trace.get("text") for trace in charts(text)["pareto"]["data"]])


@pytest.mark.parametrize("kind", ["none", "one", "failures"])
def test_studies_with_almost_nothing(reported, kind):
    failure = CandidateRecord(0, "ab", [], "seed", "failed", cause=None)
    one = replace(failure, state="complete", search_drop=MeasuredDrop(0.0, Interval(0.0, 0.0), 1, "exact"))
    found = {
        "none": lambda: reported(bare=True, status="running"),
        "one": lambda: reported((one,)),
        "failures": lambda: reported((failure, replace(failure, trial=1)), bare=True),
    }[kind]()
    page = Page(without_plotly(report_html(found.record, found.summary)))
    assert "Nothing was verified." in page.text
    assert ("No trial was run." in page.text) == (kind == "none")
    assert ("no cause was recorded" in page.text) == (kind == "failures")
    assert "None" not in page.text.replace("None of", "")
    assert "nan" not in page.text.lower().split()


def test_markup_escapes_and_trusts_only_markup():
    assert escape('<a href="x">') == "&lt;a href=&quot;x&quot;&gt;"
    assert escape(Markup("<b>")) == "<b>"
    assert element("p", "<", class_="a", data_x=1, hidden=True, title=None) == '<p class="a" data-x="1" hidden>&lt;</p>'
    with_bar = table([Column("n", numeric=True)], [[Cell("5", 5, share=2.0)]], caption="c<")
    assert '<td class="number bar" data-order="5" style="--share:100.00%">5</td>' in with_bar
    assert "<caption>c&lt;</caption>" in with_bar
