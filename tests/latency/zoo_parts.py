"""A corner of the zoo that is quick to go through, and what tests need to profile it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from autocompress.api.zoo_forms import zoo_quantizer
from autocompress.latency.header import TableHeader
from autocompress.latency.journal import TableFile
from autocompress.latency.profile import new_header, with_constants
from autocompress.latency.zoo.catalogue import Architecture, architectures
from autocompress.latency.zoo.variant import Variant, variants_for
from autocompress.runtimes import get_runtime
from autocompress.runtimes.protocol import ExecutedOp, Runtime
from autocompress.runtimes.replay import NominalDevice, ReplayRuntime

ARCHITECTURES = {a.name: a for a in architectures()}
KINDS = {v.name: v for v in variants_for("onnxruntime", zoo_quantizer("onnxruntime"))}
SMALL = ("resnet_cifar", "ds_cnn", "mlp", "recurrent", "context_net")
SMALLEST = ("resnet_cifar", "ds_cnn", "mlp")


def corner(*variants: str) -> list[tuple[Architecture, Variant]]:
    return [(ARCHITECTURES[name], KINDS[variant]) for variant in variants for name in SMALLEST]


def executed(architecture: str, variant: str, runtime: Runtime | None = None) -> list[ExecutedOp]:
    if runtime is None:
        return list(_executed_by_replay(architecture, variant))
    built = ARCHITECTURES[architecture]
    return list(runtime.executed_ops(built.build(KINDS[variant]), feeds_of(built)))


@cache
def _executed_by_replay(architecture: str, variant: str) -> tuple[ExecutedOp, ...]:
    return tuple(executed(architecture, variant, get_runtime("replay")))


def feeds_of(architecture: Architecture) -> dict[str, np.ndarray]:
    return dict(architecture.feeds())


def table_file(folder: Path, runtime: Runtime) -> TableFile:
    nominal = type(runtime) is ReplayRuntime and runtime.device == NominalDevice()
    header = header_of_nominal_device() if nominal else header_of(runtime)
    return TableFile(folder / f"{header.stem}.jsonl", header)


def header_of(runtime: Runtime) -> TableHeader:
    return with_constants(runtime, new_header(runtime, 1, command="a test"))


@cache
def header_of_nominal_device() -> TableHeader:
    """With constants that are always the same and take a moment to find."""
    return header_of(ReplayRuntime())
