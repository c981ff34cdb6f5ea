"""The runtimes that every conformance test of runtimes is run with."""

from __future__ import annotations

import importlib.util

import pytest

from autocompress.runtimes import RUNTIME_NAMES, get_runtime
from autocompress.runtimes.protocol import Runtime

_NEEDS = {"openvino": "openvino"}


@pytest.fixture(params=RUNTIME_NAMES)
def runtime(request: pytest.FixtureRequest) -> Runtime:
    module = _NEEDS.get(request.param)
    if module and importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    return get_runtime(request.param)
