"""Memory that was freed and that the process still holds."""

from __future__ import annotations

import ctypes
import gc
import sys


def give_back() -> None:
    """Gives freed memory back to the system, where the C library can (glibc); elsewhere it may do so by itself.

    Tensors of all sizes that come and go leave gaps between those that stay, which the next phase of a recovery, with
    tensors of other sizes, fills badly.
    """
    gc.collect(1)  # what was made lately: to search all of a large process takes long
    if not sys.platform.startswith("linux"):
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
