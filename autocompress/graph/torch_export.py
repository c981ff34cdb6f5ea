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
from autocompress.graph.torch_sizes import open_sizes

_NOISY_LOGGERS = ("torch", "torch.onnx", "torch.export", "torch._dynamo", "torch.fx", "onnxscript", "onnx_ir")
_LONGEST_REASON = 300


def export_module(
    module: Any, example_input: Any, *, dynamic_shapes: Any = None, opset: int = 18
) -> tuple[ModelProto, ParameterNames]:
    """Exports a module in inference mode; the module itself is not touched (a copy is traced).

    Args:
        module: a ``torch.nn.Module``.
        example_input: a tensor, a sequence of tensors (positional arguments), or a dictionary of them (keyword
            arguments), with samples along dimension 0; an input may itself be a tuple or dictionary of tensors.
        dynamic_shapes: sizes to leave open besides the number of samples (dimension 0 of every input where it is as
            long as the first's), such as ``{"input_ids": {1: "sequence"}}``: by name or in the order of the inputs,
            the symbol of each open axis; sizes of one symbol are equal.  False fixes every size to the example's.
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
    if dynamic_shapes is not False:
        positional, named, shapes = open_sizes(module, positional, named, dynamic_shapes)
    traced = _inference_copy(module)
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                traced,
                positional,
                kwargs=named,
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
        raise ModelError(_why(module, error, is_open=shapes is not None)) from None
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


def _arguments(torch: Any, example_input: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword inputs, on the CPU."""
    tree = torch.utils._pytree
    positional: Sequence[Any] = ()
    named: Mapping[str, Any] = {}
    if isinstance(example_input, torch.Tensor):
        positional = (example_input,)
    elif isinstance(example_input, Mapping):
        named = example_input
    elif isinstance(example_input, (tuple, list)):
        positional = example_input
    tensors = tree.tree_leaves((tuple(positional), dict(named)))
    if not tensors or not all(isinstance(tensor, torch.Tensor) for tensor in tensors):
        raise ConfigError("The example input must be a torch tensor, or a sequence or dictionary of tensors.")
    on_cpu: tuple[tuple[Any, ...], dict[str, Any]] = tree.tree_map(
        lambda tensor: tensor.detach().cpu(), (tuple(positional), dict(named))
    )
    return on_cpu


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


def _why(module: Any, error: BaseException, *, is_open: bool) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    hint = "try dynamic_shapes=False, or export it to ONNX yourself" if is_open else "export it to ONNX yourself"
    return f"The module {type(module).__name__} cannot be exported to ONNX ({_one_line(error)}); {hint}."


def _one_line(error: BaseException) -> str:
    lines = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()]
    reason = lines[0].rstrip(". ") if lines else type(error).__name__
    return reason if len(reason) <= _LONGEST_REASON else reason[: _LONGEST_REASON - 3] + "..."
