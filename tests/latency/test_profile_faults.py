"""Profiles that are killed, run at once, run out of space, or meet a device that is not what it was."""

from __future__ import annotations

import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from autocompress.errors import StorageError
from autocompress.latency import slope
from autocompress.latency.journal import TableFile
from autocompress.latency.lock import locked
from autocompress.latency.profile import new_header, profile_model, profile_ops
from autocompress.latency.record import LatencyRecord
from autocompress.latency.slope import time_operator
from autocompress.latency.survey import survey
from autocompress.latency.table import LatencyTable
from autocompress.runtimes import get_runtime, timing
from autocompress.runtimes.protocol import Feeds, SessionOptions
from autocompress.runtimes.replay import NominalDevice, ReplayRuntime, ReplaySession

sys.path.append(str(Path(__file__).parent))
from zoo_parts import ARCHITECTURES, KINDS, corner, executed, feeds_of, table_file

HERE = Path(__file__).parent
PLAIN = SessionOptions()

# What a process does that surveys a corner of the zoo into the table given as its first argument.
SURVEY = f"""
import sys
sys.path.append({str(HERE)!r})
from pathlib import Path
from autocompress.latency.survey import survey
from autocompress.runtimes import get_runtime, timing
from zoo_parts import corner, table_file
outcome = survey(get_runtime("replay"), table_file(Path(sys.argv[1]), get_runtime("replay")),
                 models=corner("fp32", "int8"))
assert outcome.left == 0
"""


def started(*arguments: str, program: str = SURVEY) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)


def journal_of(folder: Path) -> Path | None:
    return next(iter(folder.glob("*.journal")), None)


def keys_in(journal: Path) -> set[str]:
    """Keys of the whole lines of a journal."""
    lines = journal.read_bytes().split(b"\n")[:-1]
    return {row["key"] for line in lines if "key" in (row := json.loads(line))}


def wait_for_records(folder: Path, process: subprocess.Popen[str], count: int) -> None:
    end = time.monotonic() + 60
    while (journal := journal_of(folder)) is None or len(keys_in(journal)) < count:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.005)


def all_keys() -> set[str]:
    runtime = get_runtime("replay")
    models = [(a.build(v), a.feeds()) for a, v in corner("fp32", "int8")]
    return {op.signature.key for model, feeds in models for op in runtime.executed_ops(model, feeds, standalone=False)}


def test_a_profile_killed_again_and_again_loses_nothing_and_comes_to_its_end(tmp_path: Path) -> None:
    measured: set[str] = set()
    for more in (1, 15):
        process = started(str(tmp_path))
        wait_for_records(tmp_path, process, len(measured) + more)
        process.kill()
        process.wait()
        journal = journal_of(tmp_path)
        assert journal is not None
        now = keys_in(journal)
        assert measured < now
        measured = now
    assert started(str(tmp_path)).wait(60) == 0
    (path,) = tmp_path.glob("*.jsonl")
    table = LatencyTable.load(path)
    assert {r.signature.key for r in table if r.valid} == all_keys() >= measured
    assert len(table.models) == len(corner("fp32", "int8"))
    assert journal_of(tmp_path) is None


def test_a_killed_command_takes_its_worker_with_it_and_the_next_goes_on(tmp_path: Path) -> None:
    program = "import sys; from autocompress.cli.main import main; sys.exit(main())"
    command = ("profile", "--runtime", "replay", "-o", str(tmp_path))
    process = started(*command, program=program)
    wait_for_records(tmp_path, process, 5)
    process.kill()
    process.wait()
    (path,) = tmp_path.glob("*.jsonl")
    # The worker that measured holds the lock while it writes; once it is dead, nobody does, and nothing more comes.
    with locked(path):
        before = journal_of(tmp_path).read_bytes()  # type: ignore[union-attr]
    time.sleep(0.3)
    assert journal_of(tmp_path).read_bytes() == before  # type: ignore[union-attr]
    measured = keys_in(journal_of(tmp_path))  # type: ignore[arg-type]
    process = started(*command, "--budget", "1s", "--json", program=program)
    said, complaints = process.communicate(timeout=60)
    assert process.returncode == 0, complaints
    keys = {record.signature.key for record in LatencyTable.load(path)}
    assert len(measured) >= 5
    assert keys >= measured
    assert json.loads(said)["tables"][0]["measured"] == len(keys - measured)


def test_two_profiles_at_once_fill_one_table(tmp_path: Path) -> None:
    processes = [started(str(tmp_path)) for _ in range(2)]
    for process in processes:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
    (path,) = tmp_path.glob("*.jsonl")
    table = LatencyTable.load(path)
    assert {r.signature.key for r in table if r.valid} == all_keys()
    assert len(table.models) == len(corner("fp32", "int8"))


class SmallDisk(TableFile):
    """A table on a disk where no file can grow beyond 15 kB."""

    def append(self, record: LatencyRecord) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (15_000, hard))
        try:
            super().append(record)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_is_told_and_what_was_measured_before_is_kept(tmp_path: Path) -> None:
    runtime = get_runtime("replay")
    file = SmallDisk(tmp_path / "t.jsonl", table_file(tmp_path, runtime).load().header)
    with pytest.raises(StorageError, match=r"cannot write .*File too large"):
        survey(runtime, file, models=corner("fp32", "int8"))
    kept = file.load()
    assert len(kept) > 20
    assert all(record.valid for record in kept)


def test_ctrl_c_ends_the_command_with_its_own_code_and_keeps_what_was_measured(tmp_path: Path) -> None:
    program = "import sys; from autocompress.cli.main import main; sys.exit(main())"
    process = started("profile", "--runtime", "replay", "-o", str(tmp_path), program=program)
    wait_for_records(tmp_path, process, 5)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    runtime = get_runtime("replay")
    (path,) = tmp_path.glob("*.jsonl")
    assert len(TableFile(path, new_header(runtime, 1)).load()) >= 5


def test_a_device_whose_clock_has_changed_is_refused_and_the_table_stays(tmp_path: Path) -> None:
    model, feeds = ARCHITECTURES["mlp"].build(KINDS["fp32"]), feeds_of(ARCHITECTURES["mlp"])
    file = table_file(tmp_path, get_runtime("replay"))
    before = profile_model(get_runtime("replay"), model, feeds, file)
    assert before.refusal is None
    text = file.path.read_text()
    other = ARCHITECTURES["ds_cnn"].build(KINDS["fp32"])
    for factor, told in ((0.5, "takes 2.00 times as long"), (2.0, "takes 0.50 times as long")):
        throttled = ReplayRuntime(device=NominalDevice(multiply_adds_per_s=factor * 40e9))
        outcome = profile_model(throttled, other, feeds_of(ARCHITECTURES["ds_cnn"]), file)
        assert told in (outcome.refusal or "")
        assert file.path.name in (outcome.refusal or "")
        assert (outcome.measured, len(outcome.table)) == (0, before.measured)
        assert outcome.left > 0
    assert file.path.read_text() == text
    slightly = ReplayRuntime(device=NominalDevice(multiply_adds_per_s=1.1 * 40e9))
    assert profile_model(slightly, other, feeds_of(ARCHITECTURES["ds_cnn"]), file).left == 0


def test_a_table_gets_the_constants_of_the_device_it_is_begun_on(tmp_path: Path) -> None:
    runtime = ReplayRuntime(device=NominalDevice(multiply_adds_per_s=10e9))
    file = TableFile(tmp_path / "t.jsonl", new_header(runtime, 1))
    profile_ops(runtime, executed("mlp", "fp32"), file)
    assert LatencyTable.load(file.path).header.constants["float_gmacs"] == pytest.approx(10.0, rel=0.05)


class Disturbed(ReplayRuntime):
    """A device with a clock like a real one, on which all work takes twice as long from some moment on."""

    def __init__(self, quiet_runs: int) -> None:
        super().__init__()
        self.runs_left = quiet_runs

    def load(self, model: bytes | str, options: SessionOptions = PLAIN) -> ReplaySession:
        session = super().load(model, options)
        session.clock = "cpu"
        plain = session.time_runs

        def time_runs(feeds: Feeds, runs: int = 1) -> float:
            self.runs_left -= 1
            return plain(feeds, runs) * (1.0 if self.runs_left >= 0 else 2.0)

        session.time_runs = time_runs  # type: ignore[method-assign]
        return session


def test_a_device_that_becomes_disturbed_ends_the_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slope, "_PATIENCE_S", 0.0)
    file = table_file(tmp_path, get_runtime("replay"))
    ops = [*executed("resnet_cifar", "fp32"), *executed("resnet_cifar", "int8")]
    outcome = profile_ops(Disturbed(2000), ops, file)
    assert "disturbed for too long to go on" in (outcome.refusal or "")
    assert outcome.left > 0
    valid = [record for record in file.load() if record.valid]
    assert outcome.measured - outcome.invalid == len(valid) > 0
    reasons = {record.invalid_reason for record in file.load() if not record.valid}
    assert reasons == {"other work slowed the device down 2.0 times while it was timed"}
    rest = profile_ops(get_runtime("replay"), ops, file)
    assert (rest.left, rest.invalid) == (0, 0)
    assert all(record.valid for record in file.load())


class Wall(ReplayRuntime):
    """A runtime under the wall clock whose samples take ten times as long whenever the scheduler interferes."""

    def __init__(self, interferes: Iterator[bool], monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self._interferes = interferes
        self._switches = 0
        monkeypatch.setattr(timing, "_involuntary_switches", lambda: self._switches)

    def load(self, model: bytes | str, options: SessionOptions = PLAIN) -> ReplaySession:
        session = super().load(model, options)
        session.clock = "wall"
        plain = session.time_runs

        def time_runs(feeds: Feeds, runs: int = 1) -> float:
            disturbed = next(self._interferes)
            self._switches += disturbed
            return plain(feeds, runs) * (10.0 if disturbed else 1.0)

        session.time_runs = time_runs  # type: ignore[method-assign]
        return session


def test_samples_that_the_scheduler_disturbed_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    op = executed("ds_cnn", "fp32")[1]
    runtime = Wall(itertools.cycle([False, False, False, True, True]), monkeypatch)
    found = time_operator(runtime, op, threads=2)
    assert found.invalid_reason is None
    assert found.median_us == pytest.approx(1e6 * runtime.device.seconds(op.signature, 2), rel=1e-3)
    assert found.spread_us == pytest.approx(0.0, abs=1e-6)


def test_an_operator_whose_samples_are_all_disturbed_is_invalid(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Wall(itertools.repeat(True), monkeypatch)
    found = time_operator(runtime, executed("ds_cnn", "fp32")[1], threads=2)
    assert found.invalid_reason == "the scheduler took a processor away in nearly every sample"
