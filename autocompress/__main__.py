"""``python -m autocompress`` is the ``autocompress`` command."""

from __future__ import annotations

from autocompress.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
