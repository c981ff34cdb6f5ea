"""How much memory a step of training holds, and how many samples may be run together."""

from __future__ import annotations

from collections.abc import Callable

import torch

_MOST_BYTES = 64 * 2**20  # larger portions are no faster: what they keep leaves the caches before it is read again


def saved_bytes(run: Callable[[], object]) -> int:
    """Bytes that are kept for the backward pass of a computation, each piece of memory counted once."""
    sizes: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = run()
    del result
    return sum(sizes.values())


def samples_at_once(bytes_of: Callable[[int], int], most: int) -> int:
    """How many samples to differentiate together: as many as a fixed amount of memory holds, at least one.

    Args:
        bytes_of: number of samples -> what ``saved_bytes`` says about them.
        most: samples there are in a step.
    """
    if most <= 1:
        return 1
    one, two = bytes_of(1), bytes_of(2)
    each = max(two - one, 1)
    return max(1, min(most, int((_MOST_BYTES - (one - each)) // each)))
