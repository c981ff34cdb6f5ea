"""Inference runtimes behind one protocol: load and run, show the graph as executed, time it."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from autocompress.errors import ConfigError

if TYPE_CHECKING:
    from autocompress.runtimes.protocol import Runtime

RUNTIME_NAMES = ("onnxruntime", "openvino", "replay")

RUNTIMES_THAT_SKIP_ZEROS: frozenset[str] = frozenset()
"""Runtimes that multiply by sparse weights faster than by dense ones; none, as measured (docs/decisions/007)."""


def get_runtime(name: str) -> Runtime:
    """The runtime of that name.

    Raises:
        ConfigError: for a name that no runtime has, or a runtime that is not installed.
    """
    # Each runtime is imported when it is asked for: some are optional, all are slow to import.
    if name == "onnxruntime":
        from autocompress.runtimes.onnxruntime_cpu import OnnxRuntimeCpu

        return OnnxRuntimeCpu()
    if name == "openvino":
        if find_spec("openvino") is None:
            raise ConfigError("OpenVINO is not installed; install it with: pip install autocompress[openvino]")
        from autocompress.runtimes.openvino_cpu import OpenVinoCpu

        return OpenVinoCpu()
    if name == "replay":
        from autocompress.runtimes.replay import ReplayRuntime

        return ReplayRuntime()
    raise ConfigError(f"there is no runtime called {name!r}; choose one of {', '.join(RUNTIME_NAMES)}")
