"""How long ``autocompress --help`` takes: ``python benchmarks/cli_startup.py``, one JSON document.

Each repeat is a fresh process with warm file caches; ``--limit`` turns the median into an exit code.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

HEAVY = ("torch", "optuna", "sklearn", "pandas", "scipy", "plotly", "matplotlib", "onnx", "onnxruntime")


def main(arguments: list[str] | None = None) -> int:
    """Times and prints; returns 1 when the median is above the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--limit", type=float, help="seconds")
    parser.add_argument("--autocompress", default=str(Path(sys.executable).with_name("autocompress")))
    options = parser.parse_args(arguments)
    command = [options.autocompress, "--help"]
    seconds = [_seconds(command) for _ in range(options.repeats + 1)][1:]  # the first one fills the caches
    median = statistics.median(seconds)
    result = {
        "benchmark": "cli_startup",
        "median_s": round(median, 4),
        "minimum_s": round(min(seconds), 4),
        "maximum_s": round(max(seconds), 4),
        "repeats": options.repeats,
        "heavy_imports": _heavy_imports(),
        "limit_s": options.limit,
    }
    print(json.dumps(result, indent=2))
    return 1 if options.limit is not None and median > options.limit else 0


def _seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def _heavy_imports() -> list[str]:
    """Which of the slow packages the command's module pulls in."""
    code = "import sys, autocompress.cli.main; print(*(m for m in sys.argv[1:] if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code, *HEAVY], check=True, capture_output=True, text=True)
    return done.stdout.split()


if __name__ == "__main__":
    raise SystemExit(main())
