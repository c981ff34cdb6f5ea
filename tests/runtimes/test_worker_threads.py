"""Worker threads of ONNX Runtime: where they run decides what two threads gain."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from autocompress.latency.reference_work import float_product
from autocompress.runtimes.onnxruntime_session import OnnxRuntimeSession
from autocompress.runtimes.protocol import SessionOptions


def allowed_processors(thread: str) -> set[int]:
    listed = Path(f"/proc/self/task/{thread}/status").read_text().split("Cpus_allowed_list:")[1].split()[0]
    found: set[int] = set()
    for part in listed.split(","):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found


@pytest.mark.skipif(
    not Path("/proc/self/task").is_dir() or len(os.sched_getaffinity(0)) < 2, reason="needs Linux and two processors"
)
def test_a_worker_keeps_to_a_processor_other_than_the_first() -> None:
    before = set(os.listdir("/proc/self/task"))
    session = OnnxRuntimeSession(float_product(128), SessionOptions(threads=2))
    workers = set(os.listdir("/proc/self/task")) - before - {str(threading.get_native_id())}
    session.run({"x": np.ones((128, 128), np.float32)})
    processors = sorted(os.sched_getaffinity(0))
    end = time.monotonic() + 10  # a thread settles on its processor by itself, once it runs
    while {processors[1]} not in [allowed_processors(worker) for worker in workers]:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_more_threads_than_processors_still_run() -> None:
    threads = len(os.sched_getaffinity(0)) + 1
    session = OnnxRuntimeSession(float_product(64), SessionOptions(threads=threads))
    assert session.run({"x": np.ones((64, 64), np.float32)})["y"][0, 0] == 64
