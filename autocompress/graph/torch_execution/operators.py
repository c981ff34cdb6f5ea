"""Every standard operator that torch can execute and train here, by its ONNX name."""

from __future__ import annotations

from autocompress.graph.torch_execution import (
    activation,
    convolution,
    elementwise,
    indexing,
    linear,
    normalization,
    pooling,
    quantization,
    recurrent,
    reduce,
    resize,
    shape,
    space,
)
from autocompress.graph.torch_execution.call import Operator

OPERATORS: dict[str, Operator] = {
    **convolution.OPERATORS,
    **pooling.OPERATORS,
    **linear.OPERATORS,
    **normalization.OPERATORS,
    **activation.OPERATORS,
    **elementwise.OPERATORS,
    **shape.OPERATORS,
    **indexing.OPERATORS,
    **reduce.OPERATORS,
    **space.OPERATORS,
    **resize.OPERATORS,
    **recurrent.OPERATORS,
    **quantization.OPERATORS,
}
