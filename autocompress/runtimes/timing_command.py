"""Times model files with a command of the user, which may reach any device: ``ssh board bench {model}``.

The command takes the path of a model and prints a JSON object with ``latency_ms`` (and, if it knows them,
``minimum_ms``, ``spread_ms`` and ``repeats``).  It is started without a shell.  Baseline and candidate take turns, and
the order turns around from round to round, so that a drift of the device's speed hits both alike.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from autocompress.errors import ConfigError, RuntimeFailure
from autocompress.measurement import Interval, MeasuredLatency, MeasuredSpeedup
from autocompress.runtimes.timing_answer import TimingAnswer, read_answer

CLOCK = "command"
_PLACEHOLDER = "{model}"
_FEWEST_ROUNDS, _MOST_ROUNDS = 3, 8
_SURE_ENOUGH = 0.02  # half width of the speedup's interval, relative, at which no further round is needed
_MOST_OUTPUT_BYTES = 1 << 16
_MOST_SAID = 300


@dataclass(frozen=True)
class TimingCommand:
    """A command that times the model whose path it is given.

    Attributes:
        words: program and arguments; ``{model}`` in any of them stands for the path.
        timeout_s: seconds after which one call is ended.
    """

    words: tuple[str, ...]
    timeout_s: float

    @classmethod
    def parse(cls, text: str, timeout_s: float) -> TimingCommand:
        """Splits a command line as a shell would, without running one; a missing ``{model}`` is added at the end.

        Raises:
            ConfigError: when the quotes do not match, or nothing is left.
        """
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise ConfigError(f"verify command {text!r} cannot be read ({error}); check its quotes") from error
        if not words:
            raise ConfigError("the verify command is empty; give a program that times a model, or leave it out")
        if not any(_PLACEHOLDER in word for word in words):
            words.append(_PLACEHOLDER)
        return cls(tuple(words), timeout_s)

    def __str__(self) -> str:
        return shlex.join(self.words).replace(shlex.quote(_PLACEHOLDER), _PLACEHOLDER)

    def call(self, model: Path) -> TimingAnswer:
        """Times a model file once.

        Raises:
            RuntimeFailure: when the command cannot be started, fails, hangs, or prints no usable latency.
        """
        words = [word.replace(_PLACEHOLDER, str(model)) for word in self.words]
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            code = self._run(words, out, err)
            said = _last_line(_tail(err))
            if code is None:
                raise RuntimeFailure(
                    f"the verify command ({self}) did not end within {self.timeout_s:g} s{said}; give a longer "
                    "--verify-timeout, or make the command faster"
                )
            if code != 0:
                ended = f"exit code {code}" if code > 0 else f"signal {-code}"
                raise RuntimeFailure(
                    f"the verify command ({self}) failed with {ended}{said}; run it by hand to see why"
                )
            try:
                return read_answer(_tail(out))
            except ValueError as error:
                raise RuntimeFailure(
                    f"the verify command ({self}) printed no usable latency: {error}{said}; it must print a JSON "
                    'object such as {"latency_ms": 3.2} on standard output'
                ) from error

    def time(self, model: Path) -> MeasuredLatency:
        """Times a model file once, on its own.

        Raises:
            RuntimeFailure: as ``call`` does.
        """
        return _summary([self.call(model)])

    def _run(self, words: list[str], out: BinaryIO, err: BinaryIO) -> int | None:
        """Exit code; None when the command had to be ended."""
        try:
            process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise RuntimeFailure(
                f"the verify command ({self}) cannot be started: {reason}; check the name and path of {words[0]!r}"
            ) from error
        try:
            return process.wait(self.timeout_s)
        except subprocess.TimeoutExpired:
            return None
        finally:
            if process.poll() is None:  # it hangs, or the person stopped us
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def time_in_turns(
    command: TimingCommand, baseline: Path, candidate: Path, *, until: float | None = None
) -> MeasuredSpeedup:
    """Times two model files in turns: at least three rounds, and more until the speedup is sure enough.

    The speedup is the geometric mean of the rounds' ratios, with Student's interval of the mean of their logarithms.

    Args:
        command: times one file.
        baseline: the reference.
        candidate: what is compared with it.
        until: no round beyond the third begins after this moment of ``time.monotonic()``; None for no limit.

    Raises:
        RuntimeFailure: as ``TimingCommand.call`` does.
    """
    of_baseline: list[TimingAnswer] = []
    of_candidate: list[TimingAnswer] = []
    while True:
        turns = [(of_baseline, baseline), (of_candidate, candidate)]
        for answers, path in turns if len(of_baseline) % 2 == 0 else reversed(turns):
            answers.append(command.call(path))
        rounds = len(of_baseline)
        if rounds < _FEWEST_ROUNDS:
            continue
        ratios = [a.latency_ms / b.latency_ms for a, b in zip(of_baseline, of_candidate, strict=True)]
        speedup, interval = _middle(ratios)
        sure = interval.high - interval.low <= 2 * _SURE_ENOUGH * speedup
        if sure or rounds >= _MOST_ROUNDS or (until is not None and time.monotonic() >= until):
            return MeasuredSpeedup(_summary(of_baseline), _summary(of_candidate), speedup, interval, rounds)


def _middle(ratios: list[float]) -> tuple[float, Interval]:
    """Geometric mean and its 95 % interval."""
    from scipy.stats import t

    logs = np.log(ratios)
    mean, deviation = float(logs.mean()), float(logs.std(ddof=1))
    reach = float(t.ppf(0.975, len(logs) - 1)) * deviation / len(logs) ** 0.5
    return float(np.exp(mean)), Interval(float(np.exp(mean - reach)), float(np.exp(mean + reach)))


def _summary(answers: list[TimingAnswer]) -> MeasuredLatency:
    latencies = np.array([answer.latency_ms for answer in answers])
    middle = float(np.median(latencies))
    spreads = [answer.spread_ms for answer in answers if answer.spread_ms is not None]
    spread = float(np.median(spreads)) if spreads else float(np.median(np.abs(latencies - middle)))
    return MeasuredLatency(
        latency_ms=middle,
        minimum_ms=min(answer.fastest_ms for answer in answers),
        spread_ms=spread,
        repeats=sum(answer.repeats for answer in answers),
        clock=CLOCK,
    )


def _tail(file: BinaryIO) -> str:
    """The end of what was printed: a command may print without end."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _MOST_OUTPUT_BYTES))
    return file.read().decode("utf-8", "replace")


def _last_line(text: str) -> str:
    """What to add to a sentence: the last thing that a command said on standard error."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return ""
    said = "".join(character if character.isprintable() else " " for character in lines[-1])
    return f" (it said: {said[:_MOST_SAID]})"
