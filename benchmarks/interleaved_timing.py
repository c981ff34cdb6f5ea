"""Times two ONNX models in turn in one fresh process: ``python interleaved_timing.py A B --feeds sample.npz``.

Prints one JSON document.  Uses nothing but numpy and ONNX Runtime, so that it can judge what the package claims.  With
one thread the clock is this thread's CPU time, which other load on the machine disturbs least; with more, wall time.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime as ort

SHORTEST_CHUNK_S = 0.005
FEWEST_ROUNDS = 20
MOST_ROUNDS = 2000
RESAMPLES = 2000


def main() -> None:
    """Reads the arguments, times, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("a")
    parser.add_argument("b")
    parser.add_argument("--feeds", required=True, help=".npz with one array per model input")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    with np.load(options.feeds, allow_pickle=False) as archive:
        feeds = {name: archive[name] for name in archive.files}
    clock = time.thread_time if options.threads == 1 else time.perf_counter
    runs = [_runner(path, feeds, options.threads, clock) for path in (options.a, options.b)]
    print(json.dumps(_summary(_rounds(runs, options.seconds), "cpu" if options.threads == 1 else "wall")))


def _runner(path: str, feeds: dict[str, Any], threads: int, clock: Callable[[], float]) -> Callable[[], float]:
    """A function that gives the seconds of one run, averaged over a chunk long enough for the clock."""
    settings = ort.SessionOptions()
    settings.intra_op_num_threads, settings.log_severity_level = threads, 3
    session = ort.InferenceSession(path, settings, providers=["CPUExecutionProvider"])

    def run(times: int) -> float:
        start = clock()
        for _ in range(times):
            session.run(None, feeds)
        return (clock() - start) / times

    run(3)
    chunk = max(1, round(SHORTEST_CHUNK_S / max(run(3), 1e-7)))
    return lambda: run(chunk)


def _rounds(runs: list[Callable[[], float]], seconds: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Seconds per run, shape (rounds, 2); who goes first alternates."""
    rounds: list[list[float]] = []
    start = time.perf_counter()
    while len(rounds) < FEWEST_ROUNDS or (len(rounds) < MOST_ROUNDS and time.perf_counter() - start < seconds):
        pair = [0.0, 0.0]
        for which in (0, 1) if len(rounds) % 2 == 0 else (1, 0):
            pair[which] = runs[which]()
        rounds.append(pair)
    return np.array(rounds)


def _summary(rounds: np.ndarray[Any, np.dtype[np.float64]], clock: str) -> dict[str, Any]:
    ratio = rounds[:, 0] / rounds[:, 1]
    draws = np.random.default_rng(0).integers(len(ratio), size=(RESAMPLES, len(ratio)))
    low, high = np.percentile(np.median(ratio[draws], axis=1), [2.5, 97.5])
    a_ms, b_ms = (np.median(rounds, axis=0) * 1e3).tolist()
    return {
        "a_latency_ms": a_ms,
        "b_latency_ms": b_ms,
        "a_minimum_ms": float(rounds[:, 0].min() * 1e3),
        "b_minimum_ms": float(rounds[:, 1].min() * 1e3),
        "speedup": float(np.median(ratio)),
        "speedup_ci95": [float(low), float(high)],
        "rounds": len(rounds),
        "clock": clock,
    }


if __name__ == "__main__":
    main()
