"""Test set A: families that are not in the zoo, exported to ONNX once and kept in the work folder."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import onnx

_SEED = 20
# Neither these nor close relatives of theirs may enter autocompress/latency/zoo/architectures.yaml.
FAMILIES: tuple[str, ...] = (
    "convnext", "cvt", "focalnet", "poolformer", "segformer", "levit", "mobilevit", "squeezebert", "t5_encoder",
    "wav2vec2", "ghostnet", "res2net", "hrnet", "mlp_mixer", "quartznet",
)  # fmt: skip


def export_family(family: str, *, pruned: bool) -> onnx.ModelProto:
    """One family with random weights as an ONNX model of fixed sizes.

    Args:
        family: one of ``FAMILIES``.
        pruned: channels, heads and inner widths cut to odd numbers.

    Raises:
        ConfigError: when torch or transformers is not installed.
        ModelError: when the export fails.
    """
    from autocompress.graph.torch_export import export_module

    definition = _definition(family)
    import torch

    torch.manual_seed(_SEED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module, example = definition(pruned)
        _settle_statistics(module, example)
        model, _ = export_module(module, example, dynamic_shapes=False)
    return model


def _definition(family: str) -> Callable[[bool], tuple[Any, Any]]:
    from autocompress.errors import ConfigError

    try:
        from latency_models.configured import CONFIGURED
        from latency_models.convolutional import CONVOLUTIONAL
        from latency_models.mixing import MIXING

        definitions = {**CONFIGURED, **CONVOLUTIONAL, **MIXING}
        if family in CONFIGURED:
            import transformers

            transformers.logging.set_verbosity_error()
    except ImportError as error:
        raise ConfigError(
            f"the families of test set A need the package {error.name!r}: pip install 'autocompress[torch,benchmarks]'"
        ) from error
    return definitions[family]


def _settle_statistics(module: Any, example: Any) -> None:
    """Batch normalization learns the statistics of one random batch.

    Untrained networks otherwise shrink their activations, layer by layer, to denormal numbers, which no trained network
    computes with and which take another time.
    """
    import torch

    module.eval()
    layers = [m for m in module.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    for layer in layers:
        layer.train()
        layer.momentum = None
    with torch.no_grad():
        module(example)
    module.eval()
