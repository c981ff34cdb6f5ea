"""Whether training in bfloat16 pays on this processor."""

from __future__ import annotations

from collections.abc import Mapping

import torch

_INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16")


def has_fast_bfloat16() -> bool:
    """Whether the processor multiplies in bfloat16; others would imitate it, slowly."""
    # Older versions of torch cannot tell.
    known: Mapping[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(known.get(name, False) for name in _INSTRUCTIONS)
