"""A surveyor in a worker process: a runtime that crashes on a network, or hangs, costs no more than that network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from autocompress.api.zoo_forms import zoo_quantizer
from autocompress.latency.bench import Bench
from autocompress.latency.header import TableHeader
from autocompress.latency.journal import TableFile
from autocompress.latency.surveyor import LocalSurveyor, Step, model_name
from autocompress.latency.zoo.catalogue import Architecture, zoo_models
from autocompress.latency.zoo.layers import Layer
from autocompress.latency.zoo.variant import Variant
from autocompress.runtimes import get_runtime
from autocompress.search.workers import GuardedProcessExecutor

_STEP_TIMEOUT_S = 300.0

_surveyor: LocalSurveyor | None = None
_zoo: dict[str, tuple[Architecture, Variant]] = {}
_begun = False


class GuardedSurveyor:
    """Times in a worker process, which is replaced when it dies; see ``latency.surveyor.Surveyor``.

    Args:
        runtime: name of the runtime.
        path: the table's file.
        header: what the table is about.

    Raises:
        ConfigError: on a system without such processes.
    """

    def __init__(self, runtime: str, path: Path, header: TableHeader) -> None:
        self._executor = GuardedProcessExecutor(
            1,
            initializer=_open,
            initargs=(runtime, str(path), header),
            task_timeout_s=_STEP_TIMEOUT_S,
            threads_per_worker=header.threads,
        )

    def __enter__(self) -> GuardedSurveyor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._executor.__exit__(kind, error, traceback)

    def begin(self) -> str | None:
        """Makes ready, or says why nothing should be measured now."""
        return self._executor.submit(_begin).result()

    def time_zoo_model(self, architecture: Architecture, variant: Variant, *, again: bool = False) -> Step:
        """Times a zoo model and its operators."""
        return self._executor.submit(_time_zoo_model, model_name(architecture, variant), again).result()

    def time_layers(self, layers: Sequence[Layer], seed: int) -> Step:
        """Times what a network of a few layers becomes."""
        return self._executor.submit(_time_layers, list(layers), seed).result()


def _open(runtime: str, path: str, header: TableHeader) -> None:
    global _surveyor
    _zoo.update({model_name(*model): model for model in zoo_models(runtime, zoo_quantizer(runtime))})
    bench = Bench(get_runtime(runtime), TableFile(path, header), threads=header.threads)
    _surveyor = LocalSurveyor(bench)


def _begin() -> str | None:
    global _begun
    assert _surveyor is not None
    _begun = True
    return _surveyor.begin()


def _time_zoo_model(name: str, again: bool) -> Step:
    assert _surveyor is not None
    refusal = None if _begun else _begin()  # a process that took the place of one that died
    return Step(refusal=refusal) if refusal else _surveyor.time_zoo_model(*_zoo[name], again=again)


def _time_layers(layers: Sequence[Layer], seed: int) -> Step:
    assert _surveyor is not None
    refusal = None if _begun else _begin()
    return Step(refusal=refusal) if refusal else _surveyor.time_layers(layers, seed)
