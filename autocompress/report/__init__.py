"""A study as numbers, pictures, tables and pages."""

from __future__ import annotations

from autocompress.report.summary import build_summary, validate_summary
from autocompress.report.write import FORMATS, write_report, write_summary

__all__ = ["FORMATS", "build_summary", "validate_summary", "write_report", "write_summary"]
