"""The options of the latency benchmark."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from latency_models.catalogue import SETS

from autocompress.errors import ConfigError
from autocompress.latency.locate import shipped_folder

_SECONDS, _QUICK_SECONDS = 0.4, 0.2


def parsed(arguments: Sequence[str] | None, description: str) -> argparse.Namespace:
    """What was asked for; ends the process with a message where it makes no sense."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--work", type=Path, required=True, help="folder for models and measurements; may be used again"
    )
    parser.add_argument("--runtime", type=_names, default=["onnxruntime", "openvino"], help="separated by commas")
    parser.add_argument("--threads", type=_numbers, default=[1, 2])
    parser.add_argument("--sets", type=_names, default=list(SETS), help="which of A,B,C")
    parser.add_argument("--quick", action="store_true", help="a few small models of each set, in a minute or two")
    parser.add_argument("--only", type=_names, default=[], help="only models of these names")
    parser.add_argument("--models", type=Path, help="folder of real models that join set C")
    parser.add_argument("--shape", type=_shape, action="append", default=[], help="NAME:1x37 for their dynamic inputs")
    parser.add_argument("--tables", type=Path, default=shipped_folder("latency_tables"))
    parser.add_argument("--predictors", type=Path, default=shipped_folder("predictors"))
    parser.add_argument("--rounds", type=int, default=2, help="at least 2")
    parser.add_argument("--seconds", type=float, help="per observation")
    parser.add_argument("--prepare", action="store_true", help="build and read the models, time nothing")
    parser.add_argument(
        "--reuse-truth",
        action="store_true",
        help="keep and use measurements across tables, to try an estimator out; the report then says so",
    )
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--markdown", action="store_true", help="print Markdown")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    options = parser.parse_args(arguments)
    if not set(options.sets) <= set(SETS) or not options.sets:
        parser.error(f"--sets is {','.join(options.sets)}; it must name some of {','.join(SETS)}")
    if options.rounds < 2:
        parser.error("--rounds must be at least 2: without a second round there is no noise floor")
    options.seconds = options.seconds or (_QUICK_SECONDS if options.quick else _SECONDS)
    options.shapes = dict(options.shape)
    return options


def real_models(folder: Path | None) -> dict[str, Path]:
    """Models of a folder: files NAME.onnx, or folders NAME with a model.onnx."""
    if folder is None:
        return {}
    found = {path.stem: path for path in sorted(folder.glob("*.onnx"))}
    found |= {path.parent.name: path for path in sorted(folder.glob("*/model.onnx"))}
    if not found:
        raise ConfigError(f"{folder} holds no model: neither NAME.onnx nor NAME/model.onnx")
    return found


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _numbers(text: str) -> list[int]:
    return [int(number) for number in _names(text)]


def _shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, _, sizes = text.rpartition(":")
    return name, tuple(int(size) for size in sizes.split("x"))
