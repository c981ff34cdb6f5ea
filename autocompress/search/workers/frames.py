"""Messages on a pipe: a mark, a length, then that many bytes.

The child reads and writes with the blocking calls of this module; the parent, which must watch the clock meanwhile,
uses :mod:`autocompress.search.workers.process`.
"""

from __future__ import annotations

import os
import struct

_HEADER = struct.Struct(">4sQ")
_MARK = b"acw1"

HEADER_BYTES = _HEADER.size


def header(size_bytes: int) -> bytes:
    """The bytes that announce a payload of ``size_bytes``."""
    return _HEADER.pack(_MARK, size_bytes)


def payload_bytes(head: bytes | bytearray) -> int:
    """Size of the payload that ``head`` announces.

    Raises:
        ValueError: when these bytes are no header: something else wrote to the pipe.
    """
    mark, size_bytes = _HEADER.unpack(head)
    if mark != _MARK:
        raise ValueError(f"expected a message header, found {bytes(head)!r}")
    return int(size_bytes)


def write_frame(fd: int, payload: bytes) -> None:
    """Writes one message, blocking until the other side has room for all of it."""
    for part in (header(len(payload)), payload):
        rest = memoryview(part)
        while rest:
            rest = rest[os.write(fd, rest) :]


def read_frame(fd: int) -> bytearray | None:
    """Reads one message, blocking; None when the other side has closed the pipe."""
    head = _read_exactly(fd, HEADER_BYTES)
    if head is None:
        return None
    return _read_exactly(fd, payload_bytes(head))


def _read_exactly(fd: int, size_bytes: int) -> bytearray | None:
    data = bytearray(size_bytes)
    rest = memoryview(data)
    while rest:
        count = os.readv(fd, [rest])
        if count == 0:
            return None
        rest = rest[count:]
    return data
