"""The page in a real browser: charts are drawn, tables sort and filter, nothing complains."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autocompress.report.html import report_html

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")

PROBE = """<script>
const told = {};
told.charts = Object.fromEntries(Array.from(document.querySelectorAll(".chart"), (c) =>
  [c.id, c.querySelectorAll(".scatterlayer .trace").length]));
const heading = Array.from(document.querySelectorAll("#layers th")).find((h) => h.textContent.startsWith("Damage"));
const column = heading.cellIndex;
const rows = () => Array.from(document.querySelectorAll("#layers tbody tr"));
const values = () => rows().map((r) => Number(r.cells[column].dataset.order));
heading.querySelector("button").click();
told.falling = values();
heading.querySelector("button").click();
told.rising = values();
told.sorted = heading.getAttribute("aria-sort");
const input = document.querySelector("#layers .filter input");
input.value = "features/1/";
input.dispatchEvent(new Event("input", { bubbles: true }));
told.shown = rows().filter((r) => !r.hidden).length;
const before = getComputedStyle(document.body).backgroundColor;
document.getElementById("theme").click();
told.themed = before !== getComputedStyle(document.body).backgroundColor;
told.overflow = document.documentElement.scrollWidth - document.documentElement.clientWidth;
const buttons = Array.from(document.querySelectorAll(".modebar-btn"));
told.buttons = buttons.map((b) => b.dataset.title || b.getAttribute("aria-label"));
document.title = JSON.stringify(told);
</script>"""


def browse(page: Path, folder: Path, *options: str) -> tuple[str, str]:
    """(what the browser printed, what it complained about)."""
    assert BROWSER is not None
    command = [
        BROWSER,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--hide-scrollbars",
        "--virtual-time-budget=10000",
        "--enable-logging=stderr",
        f"--user-data-dir={folder / 'profile'}",
        *options,
        page.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


@pytest.mark.parametrize("width", [1280, 800])
def test_the_page_works(met, tmp_path, width):
    page = tmp_path / "report.html"
    page.write_text(report_html(met.record, met.summary).replace("</body>", PROBE + "</body>"), encoding="utf-8")
    printed, complaints = browse(page, tmp_path, f"--window-size={width},1400", "--dump-dom")
    assert complaints == ""
    match = re.search(r"<title>(\{.*?\})</title>", printed)
    assert match is not None
    told = json.loads(match[1])
    assert told["charts"] == {"pareto": 6, "latency-agreement": 2, "accuracy-agreement": 2, "history": 3}
    assert told["falling"] == sorted(told["falling"], reverse=True)
    assert told["rising"] == sorted(told["rising"])
    assert len(told["rising"]) == 53
    assert told["sorted"] == "ascending"
    assert told["shown"] == 1
    assert told["themed"]
    assert told["overflow"] <= 0  # wide tables scroll within their frames, never the page
    assert not [title for title in told["buttons"] if "share" in (title or "").lower()]


def test_the_page_shows_something_without_any_trial(reported, tmp_path):
    found = reported(bare=True, status="running")
    page = tmp_path / "report.html"
    page.write_text(report_html(found.record, found.summary), encoding="utf-8")
    picture = tmp_path / "page.png"
    _, complaints = browse(page, tmp_path, "--window-size=1000,1200", f"--screenshot={picture}")
    assert complaints == ""
    with Image.open(picture) as image:
        pixels = np.asarray(image.convert("L"))
    assert len(np.unique(pixels[:400])) > 20
