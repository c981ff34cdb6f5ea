"""Other tools: each is a script of its own, run by the Python that has the tool."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from ptq_methods.case import Built, Case, NotInstalled

SCRIPTS = Path(__file__).resolve().parents[1] / "ptq_peers"
NOT_INSTALLED = 3


class PeerFailed(Exception):
    """A tool ended without a model; the message is its last word."""


@dataclass(frozen=True)
class Peer:
    """A method of another tool.

    Attributes:
        script: file in ``ptq_peers``.
        method: name the script knows.
        own_python: whether the Python that runs the benchmark has the tool.
    """

    script: str
    method: str
    own_python: bool = False

    def build(self, case: Case, target: Path) -> Built:
        """Runs the script on a copy of nothing but the model's path and the calibration samples.

        Raises:
            NotInstalled: when its Python lacks the tool.
            PeerFailed: when it fails or takes too long.
        """
        python = sys.executable if self.own_python or case.peer_python is None else str(case.peer_python)
        command = [python, str(SCRIPTS / self.script), "--model", str(case.judged.model), "--method", self.method]
        command += ["--calibration", str(case.calibration), "--output", str(target), "--task", case.judged.task]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=case.limit_s, check=False)
        except subprocess.TimeoutExpired as error:
            raise PeerFailed(f"took more than {case.limit_s:.0f} s and was stopped") from error
        last = (done.stderr.strip().splitlines() or ["nothing on standard error"])[-1]
        if done.returncode == NOT_INSTALLED:
            raise NotInstalled(last)
        if done.returncode != 0 or not target.is_file():
            raise PeerFailed(f"exit code {done.returncode}: {last}")
        report = json.loads(done.stdout.strip().splitlines()[-1])
        return Built(report["cpu_s"], report["version"], tuple(report["notes"]))
