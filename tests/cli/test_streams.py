"""Commands start with standard streams that are closed, or that cannot print every character."""

from __future__ import annotations

import os
import subprocess
import sys


def run_command(redirect: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = f"exec '{sys.executable}' -m autocompress {redirect}"
    return subprocess.run(
        ["/bin/sh", "-c", command], capture_output=True, text=True, env={**os.environ, **environment}, timeout=60
    )


def test_a_closed_standard_output_does_not_end_a_command_in_a_traceback() -> None:
    done = run_command("table list >&-")
    assert done.returncode == 0
    assert "Traceback" not in done.stderr


def test_a_closed_standard_error_takes_nothing_from_the_result() -> None:
    done = run_command("table list --json 2>&-")
    assert done.returncode == 0
    assert done.stdout.startswith(("{", "["))


def test_a_name_that_the_encoding_lacks_does_not_hide_the_sentence() -> None:
    done = run_command("inspect nöwhere.onnx", PYTHONIOENCODING="ascii")
    assert done.returncode == 2
    assert "where.onnx does not exist" in done.stderr
    assert "Traceback" not in done.stderr
