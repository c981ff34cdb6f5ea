"""Sensitivity curves: on a model of which it is known what can go without a loss."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import typer
from onnx import TensorProto, helper, numpy_helper

from autocompress import api
from autocompress.api.layers import KINDS
from autocompress.api.opening import OpenRun
from autocompress.cli.main import app
from autocompress.errors import ConfigError
from autocompress.passes.decompose import DecomposeConfig
from autocompress.passes.decompose.methods import METHODS
from autocompress.passes.prune import CRITERIA, PruneConfig
from autocompress.recipe.recipe import Recipe
from autocompress.search import tasks
from autocompress.search.stems.curves import curves_of, kept_of
from autocompress.search.stems.options import BRANCH, Option, Place
from autocompress.search.workers import InlineExecutor

SAMPLES = np.random.default_rng(1).standard_normal((96, 3, 16, 16)).astype(np.float32)
RANK = 24


def network() -> onnx.ModelProto:
    """The first convolution computes 32 of its 64 channels from nothing; the second one's weights have rank 24."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) * 0.3).astype(np.float32)

    first = normal(64, 3, 3, 3)
    first[::2] = 0
    second = (normal(64, RANK) @ normal(RANK, 64 * 9)).reshape(64, 64, 3, 3)
    weights = {"w1": first, "w2": second, "w3": normal(64, 10)}
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], "first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"], "act"),
        helper.make_node("Conv", ["b", "w2"], ["c"], "second", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["d"], "act2"),
        helper.make_node("GlobalAveragePool", ["d"], ["e"], "pool"),
        helper.make_node("Flatten", ["e"], ["f"], "flat"),
        helper.make_node("Gemm", ["f", "w3"], ["y"], "head"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 10])],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """``sensitivity`` within this process."""
    monkeypatch.setenv("AUTOCOMPRESS_CACHE", str(tmp_path / "cache"))
    onnx.save(network(), tmp_path / "model.onnx")

    def inline(run: OpenRun) -> InlineExecutor:
        return InlineExecutor(initializer=tasks.start, initargs=(run.spec,))

    monkeypatch.setattr(OpenRun, "make_executor", inline)
    return lambda data, **options: api.sensitivity(tmp_path / "model.onnx", data, **options)


def test_channels_that_compute_nothing_go_for_nothing(measured: Any, tmp_path: Path) -> None:
    data = {"x": SAMPLES, "labels": np.zeros(len(SAMPLES), np.int64)}
    picture = tmp_path / "curves.png"
    document = measured(data, kind="pruning", criteria=("l2", "activation"), points=3, plot=picture)
    assert picture.read_bytes().startswith(b"\x89PNG") and document["metric"] is not None
    names = [(curve["name"], curve["criterion"]) for curve in document["curves"]]
    assert sorted(names) == [(n, c) for n in ("first", "second") for c in ("activation", "l2")]
    assert names[0][0] == "second"  # all of its channels matter
    for curve in document["curves"]:
        kept = [point["kept"] for point in curve["points"]]
        assert curve["full"] == 64 and kept == sorted(kept, reverse=True) and 0 < len(kept) <= 3
        for point in curve["points"]:
            assert point["saved_ms"] > 0 and point["drop"] is not None and point["energy"] is None
            assert point["compensated"] <= point["damage"] * (1 + 1e-6) + 1e-12
            free = curve["name"] == "first" and point["kept"] >= 32
            assert (point["damage"] < 1e-9) == free
            assert point["drop"] == 0.0 or not free


def test_ranks_above_the_true_one_go_for_nothing(measured: Any) -> None:
    document = measured({"x": SAMPLES}, kind="low_rank", methods=("svd",), points=4)
    assert document["metric"] is None
    curve = next(curve for curve in document["curves"] if curve["name"] == "second")
    assert curve["method"] == "svd" and curve["full"] == 64
    energies = [point["energy"] for point in curve["points"]]
    assert energies == sorted(energies, reverse=True)
    assert {point["kept"] >= RANK for point in curve["points"]} == {True, False}
    for point in curve["points"]:
        assert point["drop"] is None and point["choice"] == point["kept"]
        assert (point["damage"] < 1e-6) == (point["kept"] >= RANK) == (point["energy"] > 1 - 1e-5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kind": "sparsity"}, "quantization, pruning, low_rank"),
        ({"kind": "pruning", "criteria": ("l3",)}, "'l3'"),
        ({"kind": "pruning", "criteria": ()}, "no criterion is given"),
        ({"kind": "low_rank", "methods": ("cp",)}, "svd, spatial, tucker2"),
        ({"plot": "curves.svg"}, "must be a .png"),
        ({"plot": "no/such/folder/curves.png"}, "does not exist"),
    ],
)
def test_what_cannot_be_measured_is_refused(measured: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        measured({"x": SAMPLES}, **options)


def test_a_search_tells_its_curves() -> None:
    channels = Place("conv1", "", 64, (0.25, 0.5))
    ranks = Place("conv2", "tucker2", 32, ((16, 24), (8, 12)))
    options = [
        Option(channels, 0.5, 0.4, 0.2),
        Option(channels, 0.25, 0.1, 0.05),
        Option(ranks, (16, 24), 0.3, math.inf),
    ]
    left_out = Option(Place("add1", BRANCH, 1, (1.0,)), 1.0, 0.2, 0.3)
    pruned = PruneConfig((("conv1", 0.25),), branches=("add1",))
    best = Recipe(prune=pruned, decompose=DecomposeConfig((("conv2", "tucker2", (8, 12)),)))
    first, second, third = curves_of([*options, left_out], "activation", best)
    assert (third.method, third.criterion, third.points[0].kept, third.points[0].chosen) == (BRANCH, "", 0, True)
    assert (first.name, first.method, first.criterion, first.full) == ("conv1", "", "activation", 64)
    assert [(p.kept, p.chosen, p.damage) for p in first.points] == [(48, True, 0.05), (32, False, 0.2)]
    assert (second.method, second.criterion, second.points[0].kept) == ("tucker2", "", 24)
    assert not second.points[0].chosen and second.points[0].damage == math.inf
    assert kept_of(0.75, 10) == 2 and kept_of(7, 10) == 7


def test_the_help_names_what_there_is() -> None:
    command = typer.main.get_command(app).commands["sensitivity"]
    parameters = {parameter.name: parameter for parameter in command.params}
    for name, known in (("kind", KINDS), ("criterion", CRITERIA), ("method", METHODS)):
        assert not [word for word in known if word not in parameters[name].help]
