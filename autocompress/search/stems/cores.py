"""All processors for a training: nothing else of the search runs meanwhile."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator


@contextlib.contextmanager
def all_cores(wanted: bool) -> Iterator[None]:
    """Lets torch use every processor of this process; the threads of runtimes stay as they are.

    Args:
        wanted: False leaves everything as it is: sums of another number of threads differ in their last bits.
    """
    if not wanted:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(max(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else before, 1))
    try:
        yield
    finally:
        torch.set_num_threads(before)
