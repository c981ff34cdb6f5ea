"""What identifies one operator as a runtime really executes it, after fusion."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

AttributeValue = int | float | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...]


@dataclass(frozen=True)
class TensorType:
    """Type of one operand.

    Attributes:
        dtype: numpy-style name ("float32", "uint8", "int8", "int64", ...).
        shape: concrete sizes; () for a scalar.
        constant: whether the operand is a weight (an initializer) rather than an activation.
    """

    dtype: str
    shape: tuple[int, ...]
    constant: bool = False

    @property
    def elements(self) -> int:
        """Number of elements (1 for a scalar)."""
        n = 1
        for size in self.shape:
            n *= size
        return n


@dataclass(frozen=True)
class OpSignature:
    """Op type, attributes, shapes, dtypes and weight sparsity of one executed operator.

    Two operators with equal signatures are expected to take the same time on the same device, so the
    signature is the key of a latency table.  Names, weights' values and the runtime's version are not part of it.

    Attributes:
        domain: operator domain as executed ("" for ai.onnx, "com.microsoft.nchwc", ...).
        op_type: operator type as executed ("Conv", "QLinearConv", ...).
        inputs: operand types, in order; an omitted optional input is None.
        outputs: result types, in order.
        attributes: attributes that change the work, canonical (sorted by name).
        sparsity: fraction of zeros in the weights, rounded to 1/16; 0.0 for dense.
    """

    domain: str
    op_type: str
    inputs: tuple[TensorType | None, ...]
    outputs: tuple[TensorType, ...]
    attributes: tuple[tuple[str, AttributeValue], ...] = field(default=())
    sparsity: float = 0.0

    @cached_property
    def key(self) -> str:
        """Stable 16-hex-digit identity of the signature."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form; ``from_dict`` is its inverse."""
        return {
            "domain": self.domain,
            "op_type": self.op_type,
            "inputs": [None if t is None else [t.dtype, list(t.shape), t.constant] for t in self.inputs],
            "outputs": [[t.dtype, list(t.shape)] for t in self.outputs],
            "attributes": {k: list(v) if isinstance(v, tuple) else v for k, v in self.attributes},
            "sparsity": self.sparsity,
        }

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> OpSignature:
        """Rebuilds a signature from ``to_dict`` output.

        Raises:
            KeyError, TypeError, ValueError: when ``row`` is not such a dictionary.
        """
        return cls(
            domain=str(row["domain"]),
            op_type=str(row["op_type"]),
            inputs=tuple(
                None if t is None else TensorType(str(t[0]), tuple(int(d) for d in t[1]), bool(t[2]))
                for t in row["inputs"]
            ),
            outputs=tuple(TensorType(str(t[0]), tuple(int(d) for d in t[1])) for t in row["outputs"]),
            attributes=tuple(sorted((k, tuple(v) if isinstance(v, list) else v) for k, v in row["attributes"].items())),
            sparsity=float(row["sparsity"]),
        )
