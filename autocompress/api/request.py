"""Turns what a user gave (paths, models in memory, torch modules, arrays, functions) into one settled request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from autocompress.config import RunConfig
from autocompress.data import DataSpec, data_spec
from autocompress.errors import ConfigError, NothingToCompress
from autocompress.evaluate.metrics import check_metric_choice
from autocompress.graph.model import briefly_loadable, fingerprint, input_specs, load_model, loadable_bytes, size_bytes
from autocompress.graph.quantized import has_weights, is_quantized

IN_MEMORY = "model"


@dataclass(frozen=True)
class Request:
    """A run, settled.

    Attributes:
        config: every option.
        model: the model, loaded and checked.
        model_path: file it came from, or None for a model given from Python.
        label: what to call the model.
        size_bytes: bytes on disk (serialized bytes for a model given from Python).
        fingerprint: of the model.
        data: samples.
        calibration: samples for calibration; the same as ``data`` unless given apart.
        metric: name, function, or None.
        names: name in the ONNX model -> parameters of the torch module, where one was given.
    """

    config: RunConfig
    model: onnx.ModelProto
    model_path: Path | None
    label: str
    size_bytes: int
    fingerprint: str
    data: DataSpec
    calibration: DataSpec | None
    metric: str | Callable[..., Any] | None
    names: Mapping[str, tuple[str, ...]]


def settle(
    model: object,
    data: object,
    *,
    example_input: object = None,
    dynamic_shapes: object = None,
    calibration_data: object = None,
    metric: object = None,
    options: Mapping[str, object],
) -> Request:
    """Settles a run given from Python or, as a RunConfig, from the command line.

    Raises:
        UserError: when something given cannot be used.
    """
    if isinstance(model, RunConfig):
        config = _with_bundled_example(model)
        model, data, metric = config.model, config.data, config.metric
        calibration_data = config.calibration_data
    else:
        config = _config(options, model=model, data=data, calibration_data=calibration_data, metric=metric)
    check_metric_choice(metric)
    if model is None or data is None:
        raise ConfigError("no data was given: add --data with an .npz file, a folder of images or module.path:function")
    loaded, path, names = _load(model, example_input, dynamic_shapes)
    inputs = input_specs(loaded)
    spec = data_spec(data, preprocess=config.preprocess, model_inputs=inputs)  # type: ignore[arg-type]
    calibration = (
        None
        if calibration_data is None
        else data_spec(calibration_data, preprocess=config.preprocess, model_inputs=inputs)  # type: ignore[arg-type]
    )
    return Request(
        config=config,
        model=loaded,
        model_path=path,
        label=path.stem if path is not None else (loaded.graph.name or IN_MEMORY),
        size_bytes=size_bytes(path) if path is not None else _bytes_once_written(loaded),
        fingerprint=fingerprint(loaded),
        data=spec,
        calibration=calibration,
        metric=metric,  # type: ignore[arg-type]
        names=names,
    )


def _bytes_once_written(model: onnx.ModelProto) -> int:
    with briefly_loadable(model) as given:
        return loadable_bytes(given)


def refuse_uncompressible(model: onnx.ModelProto) -> None:
    """Says so where there is nothing to do.

    Raises:
        NothingToCompress: for a model that is quantized already, or has no weights.
    """
    if is_quantized(model):
        raise NothingToCompress("nothing to compress: the model is quantized already; it is left unchanged")
    if not has_weights(model):
        raise NothingToCompress("nothing to compress: the model has no weights; it is left unchanged")


def _with_bundled_example(config: RunConfig) -> RunConfig:
    if config.model is not None:
        return config
    from autocompress.bundled import bundled_example

    example = bundled_example()
    return config.with_example(example.model, example.data, example.preprocess)


def _config(options: Mapping[str, object], **given: object) -> RunConfig:
    """What can be written down of a run given from Python: options, paths and names, but no models, arrays, functions.

    Raises:
        ConfigError: as ``RunConfig`` does.
    """
    return RunConfig(**options, **{name: value for name, value in given.items() if isinstance(value, (str, Path))})


def _load(
    model: object, example_input: object, dynamic_shapes: object
) -> tuple[onnx.ModelProto, Path | None, Mapping[str, tuple[str, ...]]]:
    if isinstance(model, (str, Path)):
        return load_model(model), Path(model), {}
    if isinstance(model, onnx.ModelProto):
        return load_model(model), None, {}
    if type(model).__module__.split(".")[0] == "torch" or hasattr(model, "named_parameters"):
        if example_input is None:
            raise ConfigError("a torch module needs example_input: one input (or a tuple of inputs) that it accepts")
        from autocompress.graph.torch_export import export_module

        exported, names = export_module(model, example_input, dynamic_shapes=dynamic_shapes)
        return load_model(exported), None, names
    raise ConfigError(f"the model must be a path, an onnx.ModelProto or a torch.nn.Module, not {type(model).__name__}")
