"""How fast calibration is: one pass over the samples, then every range algorithm for every activation tensor.

    python benchmarks/calibration_speed.py --model model.onnx --data calibration.npz [--samples 64] [--output out.json]

The data file holds one array per model input, ready to feed.  Prints one JSON document on standard output.  Fields
named ``*_cpu_*`` are processor time of the one thread that collects, so that a busy machine does not inflate them.
Memory is taken after a few samples and again after all of them; where more are asked for than the file holds, they are
used again.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto

from autocompress.calibration.collect import collect
from autocompress.calibration.outputs import FLOAT_TYPES, ActivationSessions
from autocompress.calibration.ranges import ALGORITHMS, compute_range
from autocompress.calibration.scheme import Scheme
from autocompress.calibration.statistics import Statistics
from autocompress.graph.inference import element_types, infer_shapes
from autocompress.graph.model import load_model
from autocompress.graph.specs import input_specs
from autocompress.runtimes import get_runtime
from autocompress.runtimes.protocol import Array, Feeds, Session, SessionOptions

SCHEMES = {"uint8_asymmetric": Scheme("uint8", symmetric=False), "int8_symmetric": Scheme("int8", symmetric=True)}


class ArraySource:
    """Samples held in memory.

    Args:
        arrays: input name -> array whose first axis counts samples.
    """

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self._arrays = arrays

    def inputs(self, indices: Sequence[int]) -> Feeds:
        """Model inputs of the named samples; indices beyond the last start again at the first."""
        return {name: array[np.asarray(indices) % len(array)] for name, array in self._arrays.items()}


class TimedSession:
    """A session that adds up the time spent in the runtime.

    Attributes:
        wall_s: spent in ``run`` so far.
        cpu_s: processor time of the calling thread spent there.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.wall_s = 0.0
        self.cpu_s = 0.0

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """Runs once."""
        wall, cpu = time.perf_counter(), time.thread_time()
        outputs = self._session.run(feeds)
        self.wall_s += time.perf_counter() - wall
        self.cpu_s += time.thread_time() - cpu
        return outputs


def activation_tensors(model: ModelProto) -> list[str]:
    """Every floating-point tensor that depends on the samples, inputs included."""
    types = element_types(infer_shapes(model))
    weights = {weight.name for weight in model.graph.initializer}
    names = [spec.name for spec in input_specs(model)]
    names += [name for node in model.graph.node for name in node.output if node.op_type != "Constant"]
    return [name for name in names if types.get(name) in FLOAT_TYPES and name not in weights]


def peak_rss_mb() -> float:
    """Largest resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


def measure_collection(
    model: ModelProto, source: ArraySource, samples: int, options: argparse.Namespace
) -> dict[str, Any]:
    """Times one calibration pass; the statistics are under "statistics"."""
    runtime = get_runtime("onnxruntime")
    opened: list[TimedSession] = []

    def load(changed: ModelProto) -> TimedSession:
        session = runtime.load(changed.SerializeToString(), SessionOptions(threads=options.threads))
        opened.append(TimedSession(session))
        return opened[-1]

    # A few samples first: what memory they need, all must do with.
    few = min(samples, options.few)
    tensors = activation_tensors(model)
    sessions = ActivationSessions(model, load)
    collect(sessions, source, range(few), tensors, batch_size=options.batch_size)
    peak_few_mb = peak_rss_mb()
    opened.clear()
    wall, cpu = time.perf_counter(), time.thread_time()
    statistics = collect(sessions, source, range(samples), tensors, batch_size=options.batch_size)
    cpu_s = time.thread_time() - cpu - sum(session.cpu_s for session in opened)
    total_s = time.perf_counter() - wall
    runtime_s = sum(session.wall_s for session in opened)
    values = sum(tensor.count for tensor in statistics.values())
    return {
        "statistics": statistics,
        "tensors": len(statistics),
        "samples": samples,
        "passes": len(opened),
        "values_per_sample": values // samples,
        "total_s": round(total_s, 3),
        "runtime_ms_per_sample": round(runtime_s / samples * 1e3, 3),
        "collect_ms_per_sample": round((total_s - runtime_s) / samples * 1e3, 3),
        "collect_cpu_ms_per_sample": round(cpu_s / samples * 1e3, 3),
        "collect_cpu_ns_per_value": round(cpu_s / values * 1e9, 3),
        "few_samples": few,
        "peak_rss_mb_few_samples": round(peak_few_mb, 1),
        "peak_rss_mb_all_samples": round(peak_rss_mb(), 1),
    }


def measure_ranges(statistics: Statistics) -> dict[str, Any]:
    """Processor seconds of each algorithm over all tensors, for each scheme."""
    result: dict[str, Any] = {}
    for scheme_name, scheme in SCHEMES.items():
        seconds = {}
        for algorithm in ALGORITHMS:
            start = time.thread_time()
            for tensor in statistics.values():
                compute_range(tensor, algorithm, bits=scheme.bits, symmetric=scheme.symmetric, signed=scheme.signed)
            seconds[algorithm] = round(time.thread_time() - start, 4)
        result[scheme_name] = {**seconds, "all_s": round(sum(seconds.values()), 3)}
    return result


def measure_file(statistics: Statistics) -> dict[str, Any]:
    """Time and size of saving and loading."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "statistics.npz"
        start = time.perf_counter()
        statistics.save(path)
        saved = time.perf_counter()
        Statistics.load(path)
        loaded = time.perf_counter()
        size_bytes = path.stat().st_size
    return {"save_s": round(saved - start, 3), "load_s": round(loaded - saved, 3), "size_bytes": size_bytes}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, type=Path)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--samples", type=int, help="use so many samples (default: all)")
    parser.add_argument("--few", type=int, default=16, help="samples after which memory is taken for the first time")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="threads of the runtime; collection itself uses one")
    parser.add_argument("--output", type=Path, help="also write the JSON document here")
    options = parser.parse_args()

    model = load_model(options.model)
    inputs = {spec.name for spec in input_specs(model)}
    with np.load(options.data, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files if name in inputs}
    available = min(len(array) for array in arrays.values())
    samples = options.samples or available
    collection = measure_collection(model, ArraySource(arrays), samples, options)
    statistics = collection.pop("statistics")
    document = {
        "model": options.model.name,
        "batch_size": options.batch_size,
        "threads": options.threads,
        "collection": collection,
        "ranges_cpu_s": measure_ranges(statistics),
        "file": measure_file(statistics),
    }
    text = json.dumps(document, indent=1)
    print(text)
    if options.output is not None:
        options.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
