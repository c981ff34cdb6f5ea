"""How long it takes to time on a device what estimates need, from nothing, as a user does it.

    python benchmarks/profile_time.py MODEL... [--runtime onnxruntime,openvino] [--threads 1] [--limit-s 60]
    python benchmarks/profile_time.py --full [--runtime onnxruntime,openvino] [--threads 1,2] [--limit-s 3600]

With models (files, or folders of NAME.onnx or NAME/model.onnx): ``autocompress profile --model`` of each, into a table
that does not exist yet, so that every operator of the model and of its compressed forms is timed.  What
``autocompress estimate`` then says of the model's coverage shows that the table has what it needs.  With ``--full``:
``autocompress profile`` without a model, which times the zoo, samples more where forests err, and trains them.

Each command is a process of its own with an empty cache; its time is wall time, from its start to its end.  A command
that is over the limit, fails, or leaves something unmeasured gives exit code 1.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latency_measuring.options import real_models
from results import print_table, provenance, write_json

from autocompress.errors import AutocompressError, ConfigError
from autocompress.graph.model import load_model
from autocompress.graph.specs import input_specs

_LIMIT_S, _FULL_LIMIT_S = 60.0, 3600.0
_MEASURING = 0.95  # share of the limit; the rest is for starting, and for training forests
_COLUMNS = [
    ("model", "name", "{}"),
    ("runtime", "runtime", "{}"),
    ("threads", "threads", "{}"),
    ("seconds", "seconds", "{:.1f}"),
    ("forms", "forms", "{}"),
    ("operators", "operators", "{}"),
    ("invalid", "invalid", "{}"),
    ("left", "remaining", "{}"),
    ("coverage %", "coverage_percent", "{:.1f}"),
    ("within the limit", "met", "{}"),
]


@dataclass(frozen=True)
class Case:
    """One table to build.

    Attributes:
        name: of the model, or "zoo".
        runtime: its name.
        threads: intra-op threads.
        model: its file; None for the zoo.
        shapes: sizes of its dynamic inputs, each as the command line takes them.
    """

    name: str
    runtime: str
    threads: int
    model: Path | None = None
    shapes: tuple[str, ...] = ()

    def model_arguments(self) -> list[str]:
        """What the commands are told about the sizes of the model's inputs."""
        return [argument for shape in self.shapes for argument in ("--shape", shape)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Builds each table in turn and prints; returns 1 when one missed its limit, 2 when something cannot be used."""
    options = _parsed(arguments)
    try:
        cases = list(_cases(options))
    except AutocompressError as error:
        print(f"profile_time: {error}", file=sys.stderr)
        return error.exit_code
    limit_s = options.limit_s or (_FULL_LIMIT_S if options.full else _LIMIT_S)
    with tempfile.TemporaryDirectory(prefix="profile_time.") as folder:
        results = [_built(case, Path(folder) / str(n), limit_s) for n, case in enumerate(cases)]
    document = {**provenance("profile_time"), "full": options.full, "limit_s": limit_s, "results": results}
    if options.out is not None:
        write_json(options.out, document)
    if options.json:
        print(json.dumps(document, indent=2))
    else:
        print_table(_COLUMNS, results)
    return 0 if all(result["met"] for result in results) else 1


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path, metavar="MODEL", help="ONNX files, or folders of them")
    parser.add_argument("--full", action="store_true", help="a device's whole table, from the zoo")
    parser.add_argument("--runtime", default="onnxruntime,openvino", help="separated by commas")
    parser.add_argument("--threads", default="1", help="separated by commas")
    parser.add_argument("--shape", action="append", default=[], help="NAME:1x37, for the models with such an input")
    parser.add_argument("--limit-s", type=float, help=f"default {_LIMIT_S:g}, with --full {_FULL_LIMIT_S:g}")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args(arguments)
    if options.full == bool(options.models):
        parser.error("give models, or --full")
    return options


def _cases(options: argparse.Namespace) -> Iterator[Case]:
    """Every model in every setting.

    Raises:
        AutocompressError: when a model cannot be read.
    """
    models = [("zoo", None, ())] if options.full else list(_models(options.models, options.shape))
    settings = itertools.product(options.runtime.split(","), map(int, options.threads.split(",")))
    for runtime, threads in settings:
        for name, path, shapes in models:
            yield Case(name, runtime, threads, path, shapes)


def _models(given: Sequence[Path], shapes: Sequence[str]) -> Iterator[tuple[str, Path, tuple[str, ...]]]:
    for path in given:
        alone = path.parent.name if path.name == "model.onnx" else path.stem
        found = real_models(path) if path.is_dir() else {alone: path}
        for name, file in found.items():
            inputs = {spec.name for spec in input_specs(load_model(file))}
            yield name, file.resolve(), tuple(shape for shape in shapes if shape.rpartition(":")[0] in inputs)


def _built(case: Case, folder: Path, limit_s: float) -> dict[str, Any]:
    """Builds one table and looks at it."""
    tables = folder / "tables"
    tables.mkdir(parents=True)
    row: dict[str, Any] = {"name": case.name, "runtime": case.runtime, "threads": case.threads, "met": False}
    model = [] if case.model is None else ["--model", str(case.model), *case.model_arguments()]
    start = time.perf_counter()
    try:
        said = _command(
            folder, "profile", "--runtime", case.runtime, "--threads", str(case.threads),
            "--budget", f"{_MEASURING * limit_s:g}s", "--output", str(tables), *model,
        )  # fmt: skip
        row["seconds"] = time.perf_counter() - start
        (filled,) = said["tables"]
        row |= {"forms": filled["forms"], "operators": filled["records"], "invalid": filled["invalid"]}
        row |= {"remaining": filled["remaining"], "notices": said["notices"]}
        if case.model is not None:
            row["coverage_percent"] = 100 * _coverage(case, folder, Path(filled["table"]))
    except ConfigError as error:
        return {**row, "problem": str(error)}
    row["met"] = row["seconds"] <= limit_s and filled["remaining"] == 0
    return row


def _coverage(case: Case, folder: Path, table: Path) -> float:
    """Share of the model's estimated time that the new table accounts for."""
    said = _command(
        folder, "estimate", str(case.model), "--runtime", case.runtime, "--threads", str(case.threads),
        "--latency-table", str(table), *case.model_arguments(),
    )  # fmt: skip
    return float(said["coverage"])


def _command(folder: Path, *arguments: str) -> dict[str, Any]:
    """The document of an ``autocompress`` command, whose progress is shown as it goes.

    Raises:
        ConfigError: when it fails.
    """
    environment = {**os.environ, "AUTOCOMPRESS_CACHE": str(folder / "cache")}
    command = [sys.executable, "-m", "autocompress", *arguments, "--json"]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise ConfigError(f"autocompress {arguments[0]} ended with exit code {done.returncode}, see above")
    document: dict[str, Any] = json.loads(done.stdout)
    return document


if __name__ == "__main__":
    raise SystemExit(main())
