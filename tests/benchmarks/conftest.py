"""The benchmarks are scripts beside each other: their folder is on the path while they are tested."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
sys.path.append(str(Path(__file__).parent))


@pytest.fixture
def evalset(tmp_path: Path) -> Path:
    """A folder of folders with one small classifier of 40 images, right on 30 of them."""
    from tiny_evalset import write_evalset

    return write_evalset(tmp_path)
