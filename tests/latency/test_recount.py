"""Models of older tables get the operators they execute."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

from autocompress.latency.recount import with_operators
from autocompress.latency.survey import survey
from autocompress.latency.table import LatencyTable
from autocompress.runtimes import get_runtime

sys.path.append(str(Path(__file__).parent))
from zoo_parts import corner, table_file


def test_operators_are_found_again_and_what_changed_is_left(tmp_path: Path) -> None:
    runtime = get_runtime("replay")
    table = survey(runtime, table_file(tmp_path, runtime), models=corner("fp32")).table
    assert all(model.operators for model in table.models.values())
    older = {name: dataclasses.replace(model, operators={}) for name, model in table.models.items()}
    changed = "mlp/fp32"
    older[changed] = dataclasses.replace(older[changed], nodes=older[changed].nodes + 1)
    found = with_operators(LatencyTable(table.header, table, older), runtime, corner("fp32"))
    assert not found.models[changed].operators
    others = {name: model for name, model in table.models.items() if name != changed}
    assert {name: found.models[name] for name in others} == others
