"""From a PyTorch module to ONNX, through ``torch.onnx.export(dynamo=True)``; torch is imported here only, lazily."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from onnx import ModelProto

from autocompress.errors import ConfigError, ModelError
from autocompress.graph.checks import check_model
from autocompress.graph.parameter_names import ParameterNames, match_parameters
from autocompress.graph.rewrite import strip_annotations

_NOISY_LOGGERS = ("torch", "torch.onnx", "torch.export", "torch._dynamo", "torch.fx", "onnxscript", "onnx_ir")
_TRACED_BATCH = 2  # torch.export takes a size of 1 for a constant
_LONGEST_REASON = 300


def export_module(
    module: Any, example_input: Any, *, dynamic_batch: bool = True, opset: int = 18
) -> tuple[ModelProto, ParameterNames]:
    """Exports a module in inference mode; the module itself is not touched (a copy is traced).

    Args:
        module: a ``torch.nn.Module``.
        example_input: a tensor, a sequence of tensors (positional arguments), or a dictionary of them (keyword
            arguments), with samples along dimension 0.
        dynamic_batch: leave the number of samples open in every input whose dimension 0 is as long as the first's.
        opset: version of the ONNX operator set, 18 to 21.

    Returns:
        The model, and which parameters each of its weights holds (see ``parameter_names.match_parameters``).

    Raises:
        ConfigError: torch or its exporter is not installed, or the arguments are of the wrong kind.
        ModelError: the module cannot be exported.
    """
    torch = _import_torch()
    if not isinstance(module, torch.nn.Module):
        raise ConfigError(f"A torch.nn.Module is needed, not a {type(module).__name__}; give a module or an ONNX path.")
    positional, named = _arguments(torch, example_input)
    shapes: Any = None
    if dynamic_batch:
        positional, named, shapes = _open_batch(positional, named)
    traced = _inference_copy(module)
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                traced,
                tuple(positional),
                kwargs=dict(named),
                dynamo=True,
                external_data=False,
                opset_version=opset,
                dynamic_shapes=shapes,
                verbose=False,
            )
            model = program.model_proto
    except ImportError as error:
        raise _not_installed(error) from None
    except Exception as error:  # the exporter raises anything; its long report is cut to its cause
        raise ModelError(_why(module, error, dynamic_batch)) from None
    strip_annotations(model)
    check_model(model)
    parameters = {name: tensor.detach().cpu() for name, tensor in traced.state_dict().items()}
    return model, match_parameters(model, {name: _values(tensor) for name, tensor in parameters.items()})


def _import_torch() -> Any:
    try:
        import onnxscript  # noqa: F401  (the exporter needs it, and says so only after tracing)
        import torch
    except ImportError as error:
        raise _not_installed(error) from None
    return torch


def _not_installed(error: ImportError) -> ConfigError:
    missing = error.name or "torch"
    return ConfigError(f"Exporting a PyTorch module needs the package '{missing}': pip install autocompress[torch].")


def _arguments(torch: Any, example_input: Any) -> tuple[list[Any], dict[str, Any]]:
    """Positional and keyword tensors, on the CPU."""
    positional: Sequence[Any] = ()
    named: Mapping[str, Any] = {}
    if isinstance(example_input, torch.Tensor):
        positional = (example_input,)
    elif isinstance(example_input, Mapping):
        named = example_input
    elif isinstance(example_input, (tuple, list)):
        positional = example_input
    tensors = [*positional, *named.values()]
    if not tensors or not all(isinstance(tensor, torch.Tensor) for tensor in tensors):
        raise ConfigError("The example input must be a torch tensor, or a sequence or dictionary of tensors.")
    return [t.detach().cpu() for t in positional], {name: t.detach().cpu() for name, t in named.items()}


def _open_batch(positional: list[Any], named: dict[str, Any]) -> tuple[list[Any], dict[str, Any], Any]:
    """The arguments with at least two samples, and which of their dimensions are the batch."""
    first = next(iter([*positional, *named.values()]))
    batch = first.shape[0] if first.ndim else None

    def has_batch(tensor: Any) -> bool:
        return bool(batch is not None and tensor.ndim and tensor.shape[0] == batch)

    def samples(tensor: Any) -> Any:
        return tensor.repeat(_TRACED_BATCH, *[1] * (tensor.ndim - 1)) if batch == 1 and has_batch(tensor) else tensor

    def dynamic(tensor: Any) -> dict[int, str] | None:
        return {0: "batch"} if has_batch(tensor) else None

    shapes: Any = tuple(dynamic(t) for t in positional) if positional else {n: dynamic(t) for n, t in named.items()}
    return [samples(t) for t in positional], {name: samples(t) for name, t in named.items()}, shapes


def _inference_copy(module: Any) -> Any:
    # The exporter assigns attributes of the module it traces (recurrent layers), hence a copy.
    try:
        return copy.deepcopy(module).cpu().eval()
    except Exception as error:
        raise ModelError(
            f"The module {type(module).__name__} cannot be copied ({_one_line(error)}); detach the tensors it keeps."
        ) from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's warnings, log lines and prints; everything is as before afterwards."""
    loggers = [logging.getLogger(name) for name in _NOISY_LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        silence = io.StringIO()
        with warnings.catch_warnings(), contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _values(tensor: Any) -> Any:
    """A parameter as a numpy array; types that numpy lacks as float32."""
    try:
        return tensor.numpy()
    except TypeError:
        return tensor.float().numpy()


def _why(module: Any, error: BaseException, dynamic_batch: bool) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    hint = "try dynamic_batch=False, or export it to ONNX yourself" if dynamic_batch else "export it to ONNX yourself"
    return f"The module {type(module).__name__} cannot be exported to ONNX ({_one_line(error)}); {hint}."


def _one_line(error: BaseException) -> str:
    lines = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()]
    reason = lines[0].rstrip(". ") if lines else type(error).__name__
    return reason if len(reason) <= _LONGEST_REASON else reason[: _LONGEST_REASON - 3] + "..."
