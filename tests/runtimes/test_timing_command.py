"""Commands of the user that time models: fast, failing, hanging, talking nonsense."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autocompress.errors import ConfigError, RuntimeFailure
from autocompress.runtimes.timing_answer import read_answer
from autocompress.runtimes.timing_command import TimingCommand, time_in_turns


def command(tmp_path: Path, code: str, timeout_s: float = 20.0, more: str = "") -> TimingCommand:
    """A command that runs Python code with the model's path as ``path`` and its name as ``name``."""
    script = tmp_path / "bench tool.py"
    head = "import json, os, pathlib, sys, time\npath = sys.argv[1]\nname = pathlib.Path(path).stem\n"
    script.write_text(head + code)
    return TimingCommand.parse(f"{sys.executable} '{script}' {more}", timeout_s)


def log_of(tmp_path: Path) -> list[str]:
    return (tmp_path / "calls").read_text().split()


def test_words_are_split_as_a_shell_would_and_the_path_goes_where_it_is_asked_for() -> None:
    assert TimingCommand.parse("ssh board 'my bench' {model} --json", 1.0).words == (
        *("ssh", "board", "my bench", "{model}", "--json"),
    )
    assert TimingCommand.parse("bench --model={model}", 1.0).words == ("bench", "--model={model}")
    assert TimingCommand.parse("bench -q", 1.0).words == ("bench", "-q", "{model}")
    assert str(TimingCommand.parse("ssh board 'my bench'", 1.0)) == "ssh board 'my bench' {model}"


@pytest.mark.parametrize(("text", "said"), [("bench 'a", "quot"), ("  ", "empty")])
def test_unreadable_commands_are_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        TimingCommand.parse(text, 1.0)


def test_no_shell_looks_at_the_words(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    tool = command(tmp_path, "print(json.dumps({'latency_ms': len(sys.argv)}))", more=f"'; touch {marker}' '$HOME' '*'")
    assert tool.call(tmp_path / "m.onnx").latency_ms == 5.0
    assert not marker.exists()


def test_the_last_json_object_counts_and_other_output_does_not(tmp_path: Path) -> None:
    code = """
print('{"latency_ms": 99}')
print('warm-up {broken {"no": ')
print(json.dumps({"latency_ms": 3.5, "minimum_ms": 3.25, "spread_ms": 0.5, "repeats": 40}, indent=2))
print('bye }')
print('{"latency_ms": 1}', file=sys.stderr)
"""
    found = command(tmp_path, code).time(tmp_path / "m.onnx")
    assert (found.latency_ms, found.minimum_ms, found.spread_ms, found.repeats) == (3.5, 3.25, 0.5, 40)
    assert found.clock == "command"


def test_what_it_prints_before_may_be_long(tmp_path: Path) -> None:
    found = command(tmp_path, "print('{x' * 500_000)\nprint('{\"latency_ms\": 2.5}')").call(tmp_path / "m.onnx")
    assert found.latency_ms == 2.5


@pytest.mark.parametrize(
    ("printed", "said"),
    [
        ("", "printed nothing"),
        ("hello", "no JSON object"),
        ("[1, 2]", "no JSON object"),
        ('{"latency_ms": 3', "no JSON object"),
        ('{"ms": 3}', "no latency_ms"),
        ('{"latency_ms": 3} {"done": true}', "no latency_ms"),
        ('{"latency_ms": NaN}', "not a number"),
        ('{"latency_ms": Infinity}', "not a number"),
        ('{"latency_ms": -1}', "not a number"),
        ('{"latency_ms": 0}', "not a positive"),
        ('{"latency_ms": null}', "not a positive"),
        ('{"latency_ms": "3"}', "not a number"),
        ('{"latency_ms": true}', "not a number"),
        ('{"latency_ms": 1' + "0" * 400 + "}", "not a number"),
        ('{"latency_ms": 3, "minimum_ms": 4}', "minimum_ms is 4"),
        ('{"latency_ms": 3, "spread_ms": -1}', "spread_ms"),
        ('{"latency_ms": 3, "repeats": 2.5}', "repeats"),
        ('{"latency_ms": 3, "repeats": 0}', "repeats"),
        ('{"a": {"latency_ms": 3}}', "no latency_ms"),
    ],
)
def test_answers_that_cannot_be_are_refused(printed: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_answer(printed)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("print('oops', file=sys.stderr)\nsys.exit(7)", r"failed with exit code 7 \(it said: oops\)"),
        ("os.kill(os.getpid(), 9)", "failed with signal 9"),
        ("print('no model here')", "printed no usable latency: it printed 'no model here'"),
        ("print('warn\\x1b[31m', file=sys.stderr)", "printed no usable latency: it printed nothing"),
    ],
)
def test_a_command_that_fails_is_named_with_what_it_said(code: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(RuntimeFailure, match=said) as caught:
        command(tmp_path, code).call(tmp_path / "m.onnx")
    assert "bench tool.py" in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RuntimeFailure, match=r"cannot be started: No such file.*'nonesuch-bench'"):
        TimingCommand.parse("nonesuch-bench", 1.0).call(tmp_path / "m.onnx")


def test_a_command_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    code = """
import subprocess
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, file=open(os.path.join(os.path.dirname(path), "child"), "w"), flush=True)
time.sleep(60)
"""
    begin = time.monotonic()
    with pytest.raises(RuntimeFailure, match="did not end within 2 s"):
        command(tmp_path, code, timeout_s=2.0).call(tmp_path / "m.onnx")
    assert time.monotonic() - begin < 20
    child = int((tmp_path / "child").read_text())
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and Path(f"/proc/{child}/status").exists():
        if "State:\tZ" in Path(f"/proc/{child}/status").read_text():
            break
        time.sleep(0.05)
    else:
        assert not Path(f"/proc/{child}").exists()


def test_an_interrupted_call_leaves_no_command_behind(tmp_path: Path) -> None:
    tool = command(tmp_path, "open(path, 'w').write(str(os.getpid()))\ntime.sleep(60)", timeout_s=60.0)
    words = json.dumps(list(tool.words))
    code = f"""
from pathlib import Path
from autocompress.runtimes.timing_command import TimingCommand
TimingCommand(tuple({words}), 60.0).call(Path({str(tmp_path / "pid")!r}))
"""
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) != 0
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_the_two_models_take_turns_and_the_order_turns_around(tmp_path: Path) -> None:
    code = """
open(os.path.join(os.path.dirname(path), "calls"), "a").write(name + " ")
print(json.dumps({"latency_ms": 6.0 if name == "a" else 2.0, "repeats": 5}))
"""
    found = time_in_turns(command(tmp_path, code), tmp_path / "a.onnx", tmp_path / "b.onnx")
    assert log_of(tmp_path) == ["a", "b", "b", "a", "a", "b"]
    assert (found.speedup, found.speedup_ci95.low, found.speedup_ci95.high) == pytest.approx((3.0, 3.0, 3.0))
    assert (found.a.latency_ms, found.b.latency_ms, found.rounds, found.b.repeats) == (6.0, 2.0, 3, 15)


def test_the_interval_is_students_over_the_rounds_and_noise_brings_more_of_them(tmp_path: Path) -> None:
    ratios = [2.0, 2.4, 1.7, 2.2, 1.9, 2.1, 2.05, 2.3]
    code = f"""
ratios = {ratios}
calls = os.path.join(os.path.dirname(path), "calls")
before = open(calls).read().split().count(name) if os.path.exists(calls) else 0
open(calls, "a").write(name + " ")
print(json.dumps({{"latency_ms": 4.0 * ratios[before] if name == "a" else 4.0}}))
"""
    found = time_in_turns(command(tmp_path, code), tmp_path / "a.onnx", tmp_path / "b.onnx")
    assert found.rounds == len(ratios)
    logs = [math.log(r) for r in ratios]
    mean = sum(logs) / 8
    deviation = (sum((x - mean) ** 2 for x in logs) / 7) ** 0.5
    reach = 2.364624 * deviation / 8**0.5  # Student's t, 7 degrees of freedom, 97.5 %
    assert found.speedup == pytest.approx(math.exp(mean))
    assert found.speedup_ci95.low == pytest.approx(math.exp(mean - reach), rel=1e-6)
    assert found.speedup_ci95.high == pytest.approx(math.exp(mean + reach), rel=1e-6)
    (tmp_path / "calls").unlink()
    late = time_in_turns(command(tmp_path, code), tmp_path / "a.onnx", tmp_path / "b.onnx", until=time.monotonic())
    assert late.rounds == 3
