"""What an operator's function is given besides its operands: the node's attributes and the versions that hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from onnx import NodeProto, TensorProto, helper

from autocompress.errors import ModelError
from autocompress.graph.tensors import dtype_name
from autocompress.graph.walk import node_label

Tensor: TypeAlias = torch.Tensor

# Called with a Call and the operands in the node's order; an omitted operand is None.
Operator: TypeAlias = Callable[..., Tensor | Sequence[Tensor]]

_INTEGERS = {
    TensorProto.BOOL: torch.bool,
    TensorProto.INT8: torch.int8,
    TensorProto.UINT8: torch.uint8,
    TensorProto.INT16: torch.int16,
    TensorProto.INT32: torch.int32,
    TensorProto.INT64: torch.int64,
    # Torch computes little in the wide unsigned types, so they are held in the next wider signed one.
    TensorProto.UINT16: torch.int32,
    TensorProto.UINT32: torch.int64,
    TensorProto.UINT64: torch.int64,
    TensorProto.INT4: torch.int8,
    TensorProto.UINT4: torch.uint8,
}
_FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16})


@dataclass
class Call:
    """One node as its operator's function sees it.

    Attributes:
        node: the node.
        opset: version of the standard operator set.
        dtype: torch type in which float32 (and narrower) tensors are computed.
        attributes: the node's attributes by name; strings are decoded.
    """

    node: NodeProto
    opset: int
    dtype: torch.dtype
    attributes: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        values = {a.name: helper.get_attribute_value(a) for a in self.node.attribute}
        self.attributes = {name: v.decode() if isinstance(v, bytes) else v for name, v in values.items()}

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute's value, or ``default``."""
        return self.attributes.get(name, default)

    @property
    def results(self) -> int:
        """How many outputs the node lists."""
        return len(self.node.output)

    def wants(self, position: int) -> bool:
        """Whether the output at this position has a name, so that somebody may read it."""
        return position < len(self.node.output) and bool(self.node.output[position])

    def torch_dtype(self, element_type: int) -> torch.dtype:
        """The torch type that holds tensors of an ONNX element type.

        Raises:
            ModelError: the type cannot be computed with.
        """
        if element_type in _FLOATS:
            return self.dtype
        if element_type == TensorProto.DOUBLE:
            return torch.float64
        if element_type in _INTEGERS:
            return _INTEGERS[element_type]
        raise self.refuse(f"element type {dtype_name(element_type)}")

    def refuse(self, what: str) -> ModelError:
        """The error for something that this operator can be but that is not supported here."""
        return ModelError(
            f"node {node_label(self.node)} ({self.node.op_type}) uses {what}, which cannot be trained or run in torch; "
            "leave this part of the model out of training or replace it"
        )


def numbers(operand: Tensor | None) -> list[int]:
    """The integers that an operand holds, flat; none for an omitted one."""
    return [] if operand is None else [int(value) for value in operand.reshape(-1).tolist()]


def sizes_or_attribute(call: Call, operand: Tensor | None, name: str) -> list[int] | None:
    """Integers that older operator sets keep in an attribute and newer ones in an operand; None where neither is."""
    if operand is not None:
        return numbers(operand)
    value = call.get(name)
    return None if value is None else [int(number) for number in value]
