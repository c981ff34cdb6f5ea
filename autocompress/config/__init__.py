"""What a run was asked to do: options with their units, as flags, as a YAML file or from Python."""

from __future__ import annotations

from autocompress.config.files import dump_config, load_config
from autocompress.config.options import OPTIONS, is_function_reference
from autocompress.config.quantities import SizeTarget
from autocompress.config.run_config import DEFAULT_STORAGE, RunConfig
from autocompress.config.shapes import Shapes, parse_shapes

__all__ = [
    "DEFAULT_STORAGE",
    "OPTIONS",
    "RunConfig",
    "Shapes",
    "SizeTarget",
    "dump_config",
    "is_function_reference",
    "load_config",
    "parse_shapes",
]
