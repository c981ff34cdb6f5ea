"""The benchmarks are scripts beside each other: their folder is on the path while they are tested."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
