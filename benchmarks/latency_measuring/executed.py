"""What the runtime executes of each model: read once, kept, and read again only where code or model changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
from latency_models.digests import digest, package_sources

from autocompress.api.feeds import random_feeds
from autocompress.graph.signature import OpSignature
from autocompress.runtimes.protocol import ExecutedOp
from latency_measuring.kept import KeptRows
from latency_measuring.settings import Setting


class ExecutedGraphs:
    """Executed operators of models in one setting.

    Args:
        folder: where they are kept.
        setting: runtime and threads.
    """

    def __init__(self, folder: Path, setting: Setting) -> None:
        self._setting = setting
        self._made_by = digest(setting.slug, package_sources("runtimes", "graph/signature.py"))
        self._graphs = KeptRows(folder / f"graphs-{setting.slug}.jsonl")
        self._signatures = KeptRows(folder / f"signatures-{setting.slug}.jsonl")
        self._by_key = {row["key"]: OpSignature.from_dict(row["signature"]) for row in self._signatures.rows}
        self._known: dict[tuple[str, str], list[str]] = {
            (row["model"], row["made_by"]): row["ops"] for row in self._graphs.rows
        }

    def ops(self, model: Path) -> list[ExecutedOp]:
        """The operators of a model file, in order of execution, without standalone models.

        Raises:
            RuntimeFailure: when the runtime refuses the model.
        """
        identity = _identity(model)
        if (identity, self._made_by) not in self._known:
            self._read(model, identity)
        return [ExecutedOp(key, self._by_key[key]) for key in self._known[identity, self._made_by]]

    def _read(self, model: Path, identity: str) -> None:
        feeds = feeds_of(model)
        found = self._setting.runtime.executed_ops(str(model), feeds, threads=self._setting.threads, standalone=False)
        for op in found:
            if op.signature.key not in self._by_key:
                self._by_key[op.signature.key] = op.signature
                self._signatures.append({"key": op.signature.key, "signature": op.signature.to_dict()})
        keys = [op.signature.key for op in found]
        self._known[identity, self._made_by] = keys
        self._graphs.append({"model": identity, "made_by": self._made_by, "ops": keys})


def feeds_of(model: Path) -> dict[str, Any]:
    """Seeded inputs of a model file whose sizes are all numbers."""
    return random_feeds(onnx.load(str(model)))


def _identity(model: Path) -> str:
    """A model file's own name tells its content: it ends in a digest of how it was made."""
    return f"{model.parent.name}/{model.name}"
