"""A corner of the zoo that is quick to go through, and what tests need to profile it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from autocompress.api.zoo_forms import zoo_quantizer
from autocompress.latency.journal import TableFile
from autocompress.latency.profile import new_header, with_constants
from autocompress.latency.zoo.catalogue import Architecture, architectures
from autocompress.latency.zoo.variant import Variant, variants_for
from autocompress.runtimes import get_runtime
from autocompress.runtimes.protocol import ExecutedOp, Runtime

ARCHITECTURES = {a.name: a for a in architectures()}
KINDS = {v.name: v for v in variants_for("onnxruntime", zoo_quantizer("onnxruntime"))}
SMALL = ("resnet_cifar", "ds_cnn", "mlp", "recurrent", "context_net")
SMALLEST = ("resnet_cifar", "ds_cnn", "mlp")


def corner(*variants: str) -> list[tuple[Architecture, Variant]]:
    return [(ARCHITECTURES[name], KINDS[variant]) for variant in variants for name in SMALLEST]


def executed(architecture: str, variant: str, runtime: Runtime | None = None) -> list[ExecutedOp]:
    built = ARCHITECTURES[architecture]
    runtime = runtime or get_runtime("replay")
    return list(runtime.executed_ops(built.build(KINDS[variant]), feeds_of(built)))


def feeds_of(architecture: Architecture) -> dict[str, np.ndarray]:
    return dict(architecture.feeds())


def table_file(folder: Path, runtime: Runtime) -> TableFile:
    header = with_constants(runtime, new_header(runtime, 1, command="a test"))
    return TableFile(folder / f"{header.stem}.jsonl", header)
