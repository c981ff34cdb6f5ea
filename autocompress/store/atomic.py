"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from autocompress.errors import StorageError


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes a UTF-8 file.

    Raises:
        StorageError: when it cannot be written; an older one is left as it was.
    """
    write_bytes(path, text.encode())


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Writes a file: a temporary one beside it takes its place once it is complete.

    Raises:
        StorageError: when it cannot be written; an older one is left as it was.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        raise StorageError(f"{target} cannot be written ({error.strerror}); give another place") from error
    finally:
        temporary.unlink(missing_ok=True)
