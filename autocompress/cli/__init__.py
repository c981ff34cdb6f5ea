"""The ``autocompress`` command: parse, call the api, show; no logic."""
