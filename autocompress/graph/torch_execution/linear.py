"""Matrix products."""

from __future__ import annotations

import torch

from autocompress.graph.torch_execution.call import Call, Operator, Tensor


def matmul(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """MatMul, with numpy's rules for stacks of matrices."""
    return torch.matmul(a, b)


def gemm(call: Call, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    """Gemm: alpha A' B' + beta C."""
    left = a.t() if call.get("transA", 0) else a
    right = b.t() if call.get("transB", 0) else b
    alpha, beta = call.get("alpha", 1.0), call.get("beta", 1.0)
    product = left @ right
    if alpha != 1.0:
        product = product * alpha
    if c is None:
        return product
    return product + (c if beta == 1.0 else c * beta)


def einsum(call: Call, *operands: Tensor) -> Tensor:
    """Einsum."""
    return torch.einsum(call.get("equation").replace(" ", ""), *operands)


OPERATORS: dict[str, Operator] = {"MatMul": matmul, "Gemm": gemm, "Einsum": einsum}
