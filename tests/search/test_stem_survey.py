"""A survey of a small residual network within a real search, and what is proposed after it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from autocompress.api.compression import compress
from autocompress.search import search as searching
from autocompress.search.state import SearchState
from autocompress.search.stems.opening import open_stem
from autocompress.search.stems.options import BRANCH, stem_of
from autocompress.search.stems.proposing import propose_stems
from autocompress.search.stems.reference import reference_config, reference_proposals
from autocompress.search.stems.rounds import search_round
from autocompress.search.stems.survey import priced_ms, survey

SPACE = """
description: Small.
scheme:
  activation_range: [min_max]
precision:
  options: [fp32, int8]
  per: unit
steps:
  pruning: [surgeon]
search:
  proposals_per_build: 8
  screen: 1
"""
WIDTH, BLOCKS = 48, 3


def residual_network() -> onnx.ModelProto:
    """Blocks of which the second adds next to nothing."""
    rng = np.random.default_rng(3)
    weights, nodes = [], []

    def conv(x: str, inputs: int, outputs: int, scale: float = 1.0) -> str:
        number = len(weights)
        weight = scale * rng.standard_normal((outputs, inputs, 3, 3)) * np.sqrt(2.0 / (inputs * 9))
        weights.append(numpy_helper.from_array(weight.astype(np.float32), f"w{number}"))
        nodes.append(helper.make_node("Conv", [x, f"w{number}"], [f"c{number}"], f"conv{number}", pads=[1] * 4))
        return f"c{number}"

    def op(kind: str, *inputs: str) -> str:
        name = f"{kind.lower()}{len(nodes)}"
        nodes.append(helper.make_node(kind, list(inputs), [name], f"n_{name}"))
        return name

    x = op("Relu", conv("x", 3, WIDTH))
    for i in range(BLOCKS):
        inner = op("Relu", conv(x, WIDTH, WIDTH))
        x = op("Relu", op("Add", conv(inner, WIDTH, WIDTH, 0.02 if i == 1 else 0.5), x))
    weights.append(numpy_helper.from_array(rng.standard_normal((WIDTH, 6)).astype(np.float32), "head"))
    scores = op("Gemm", op("Flatten", op("GlobalAveragePool", x)), "head")
    output = helper.make_tensor_value_info(scores, TensorProto.FLOAT, ["n", 6])
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 16, 16])
    graph = helper.make_graph(nodes, "residual", [given], [output], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.mark.slow
def test_widths_and_branches_are_surveyed_and_proposed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOCOMPRESS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "small.yaml").write_text(SPACE)
    onnx.save(residual_network(), tmp_path / "model.onnx")
    samples = np.random.default_rng(0).standard_normal((48, 3, 16, 16)).astype(np.float32)
    checked: list[bool] = []

    def check(state: SearchState) -> None:
        landscape = survey(state)
        assert state.surveyed == landscape.options
        branches = [option for option in landscape.options if option.place.method == BRANCH]
        assert len(branches) == BLOCKS and all(option.saved_ms > 0 for option in branches)
        idle, *busy = sorted(branches, key=lambda option: option.damage)
        assert idle.place.name == sorted((o.place.name for o in branches), key=lambda name: int(name[5:]))[1]
        assert idle.damage < 0.2 * busy[0].damage
        widths = [option for option in landscape.options if not option.place.method]
        assert {option.place.follows for option in widths} == {True} and len({o.place.name for o in widths}) >= BLOCKS
        # What a width alone is said to save is what the model made so is priced at.
        for option in widths[:2]:
            built_ms = priced_ms(state, stem_of([option], "surgeon"), landscape.config)
            assert landscape.full_ms - built_ms == pytest.approx(option.saved_ms, abs=0.01 * landscape.full_ms)
        mildest = next(propose_stems(state, landscape))
        assert mildest.prune is not None and idle.place.name in mildest.prune.branches
        assert mildest.recover is not None and mildest.recover.level == "closed_form"
        stem = open_stem(state, mildest)
        assert stem is not None
        search_round(state, stem)
        own = [trial for trial in state.own_trials if trial.recipe.quantize is not None]
        precisions = {unit.name: reference_config(state).precision_of(unit.name) for unit in stem.units}
        found = [{n: t.recipe.quantize.precision_of(n) for n in precisions} for t in own]
        assert precisions in found, (precisions, found)
        assert reference_proposals(state) == []
        checked.append(True)

    monkeypatch.setattr(searching, "search_stems", check)
    places = {"output": tmp_path / "out", "storage": str(tmp_path / "s.db")}
    chosen = {"workers": 0, "trials": 16, "timeout": "60s", "target_speedup": 12, "max_accuracy_drop": 0.2}
    compress(
        tmp_path / "model.onnx", {"x": samples}, metric="cosine", search_space=str(tmp_path / "small.yaml"),
        recovery="none", **chosen, **places,
    )  # fmt: skip
    assert checked == [True]
