"""The report as one HTML page."""

from __future__ import annotations

from autocompress.report.html.page import report_html

__all__ = ["report_html"]
