"""Sampling where forests err: layers like the ones drawn, errors that fall, the same again for the same seed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from autocompress.graph.signature import OpSignature
from autocompress.latency.families import family_of
from autocompress.latency.journal import TableFile
from autocompress.latency.resampling import ResamplingOutcome, resample
from autocompress.latency.survey import survey
from autocompress.latency.zoo.layers import DYNAMIC, FLOAT, INT8, Layer, layer_of, network_of
from autocompress.runtimes import get_runtime
from autocompress.runtimes.protocol import ExecutedOp
from autocompress.runtimes.replay import ReplayRuntime
from autocompress.runtimes.work import convolution_kernel

sys.path.append(str(Path(__file__).parent))
from in_place_replay import InPlaceReplay
from zoo_parts import corner, executed, table_file

LAYERS = {
    "dense": Layer(FLOAT, (1, 32, 20, 20), 48, window=(3, 3), stride=2),
    "pointwise": Layer(INT8, (1, 32, 20, 20), 48, window=(1, 1)),
    "depthwise": Layer(FLOAT, (1, 32, 20, 20), 32, window=(5, 5), group=32),
    "grouped": Layer(INT8, (1, 32, 20, 20), 64, window=(3, 3), group=4),
    "dilated": Layer(FLOAT, (1, 32, 20, 20), 16, window=(3, 3), dilation=2),
    "signal": Layer(FLOAT, (1, 24, 200), 16, window=(9,)),
    "gemm": Layer(FLOAT, (8, 100), 30),
    "matmul": Layer(INT8, (1, 12, 96), 64),
    "dynamic": Layer(DYNAMIC, (1, 12, 96), 64),
}


def found_in(layers: Sequence[Layer], runtime: str = "onnxruntime") -> list[ExecutedOp]:
    model, feeds = network_of(layers, 0)
    ops = get_runtime(runtime).executed_ops(model, feeds)
    return [op for op in ops if layer_of(op.signature) is not None]


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_becomes_the_operator_that_it_describes(name: str) -> None:
    layer = LAYERS[name]
    (op,) = found_in([layer])
    found = layer_of(op.signature)
    assert found is not None
    # The runtime may join the rows of a product.
    assert (found.arithmetic, found.window, found.stride, found.dilation) == (
        layer.arithmetic, layer.window, layer.stride, layer.dilation,
    )  # fmt: skip
    assert np.prod(found.shape) == np.prod(layer.shape)
    assert (found.channels, found.group) == (layer.channels, layer.group)


@pytest.mark.parametrize("name", LAYERS)
def test_variations_stay_of_their_kind_and_run(name: str) -> None:
    layer, rng = LAYERS[name], np.random.default_rng(3)
    varied = [layer.varied(rng) for _ in range(6)]
    assert len({v.channels for v in varied}) > 2
    assert any(v.channels % 8 for v in varied)
    (like,) = found_in([layer])
    assert {family_of(op.signature) for op in found_in(varied)} == {family_of(like.signature)}


def test_what_is_no_layer_is_left_alone() -> None:
    others = [op.signature for op in executed("ds_cnn", "fp32") if convolution_kernel(op.signature) is None]
    assert any(layer_of(signature) is None for signature in others)


class Staircase(ReplayRuntime):
    """A device on which channels that are no multiple of 24 cost more, in steps that must be seen to be known."""

    def op_seconds(self, signature: OpSignature, threads: int) -> float:
        kernel = convolution_kernel(signature)
        steps = 0.0 if kernel is None else (kernel.shape[0] % 24) / 24
        return super().op_seconds(signature, threads) * (1.0 + steps)


def resampled(folder: Path, runtime: ReplayRuntime, **options: object) -> tuple[ResamplingOutcome, TableFile]:
    file = table_file(folder, runtime)
    survey(runtime, file, models=corner("fp32", "pruned")[::3])
    return resample(runtime, file, **options), file  # type: ignore[arg-type]


def test_errors_fall_and_everything_drawn_is_kept(tmp_path: Path) -> None:
    outcome, file = resampled(tmp_path, Staircase(), most_rounds=2)
    assert outcome.measured > 20
    assert min(outcome.errors) < 0.9 * outcome.errors[0]
    assert len(outcome.errors) >= 2
    assert len(file.load()) == len(outcome.table)
    assert all(record.valid for record in outcome.table)


def test_the_same_seed_draws_the_same_layers_and_gives_the_same_errors(tmp_path: Path) -> None:
    first, _ = resampled(tmp_path / "a", Staircase(), seed=1, most_rounds=1)
    second, _ = resampled(tmp_path / "b", Staircase(), seed=1, most_rounds=1)
    assert first.errors == second.errors
    assert {r.signature.key for r in first.table} == {r.signature.key for r in second.table}


def test_a_budget_that_is_spent_adds_nothing(tmp_path: Path) -> None:
    outcome, _ = resampled(tmp_path, Staircase(), budget_s=0.0)
    assert (outcome.measured, len(outcome.errors)) == (0, 1)


def test_a_runtime_that_times_in_place_is_resampled_too(tmp_path: Path) -> None:
    outcome, _ = resampled(tmp_path, InPlaceReplay(), most_rounds=1)
    assert outcome.measured > 0
    assert outcome.invalid == 0
