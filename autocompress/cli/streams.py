"""Standard streams that a command can rely on: open, and able to print whatever a name or a unit contains."""

from __future__ import annotations

import io
import os
import sys


def prepare_standard_streams() -> None:
    """Opens closed ones onto nothing, and prints a question mark for what the terminal's encoding lacks."""
    # Else the next file opened, a study database for instance, would take the place of standard output.
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    # They stay open for as long as the process lives, so no context closes them.
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
