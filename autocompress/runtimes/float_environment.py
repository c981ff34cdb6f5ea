"""Flushing of denormal numbers, switched on while a model runs and off again in the caller's thread.

Denormals slow kernels down by up to 100 times, so timings want them flushed to zero; but the switch belongs to the
thread, and the thread belongs to the user, whose own arithmetic must not change.  Known for x86-64 with glibc, where
``fenv_t`` ends with the MXCSR register; elsewhere nothing is switched.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

_FENV_BYTES = 32
_MXCSR_OFFSET = 28
_FLUSH_AND_ZERO = 0x8040  # flush-to-zero and denormals-are-zero


@contextmanager
def kept_float_environment() -> Iterator[None]:
    """Restores the thread's floating-point environment at the end, whatever happened to it."""
    libm = _libm()
    if libm is None:
        yield
        return
    before = _read(libm)
    try:
        yield
    finally:
        libm.fesetenv(before)


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Denormals of this thread are zero inside."""
    libm = _libm()
    if libm is None:
        yield
        return
    before = _read(libm)
    flushing = ctypes.create_string_buffer(before.raw, _FENV_BYTES)
    register = ctypes.c_uint32.from_buffer(flushing, _MXCSR_OFFSET)
    register.value |= _FLUSH_AND_ZERO
    libm.fesetenv(flushing)
    try:
        yield
    finally:
        libm.fesetenv(before)


@cache
def _libm() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux") or platform.machine() != "x86_64" or platform.libc_ver()[0] != "glibc":
        return None
    name = ctypes.util.find_library("m") or "libm.so.6"
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None


def _read(libm: ctypes.CDLL) -> ctypes.Array[ctypes.c_char]:
    buffer = ctypes.create_string_buffer(_FENV_BYTES)
    libm.fegetenv(buffer)
    return buffer
