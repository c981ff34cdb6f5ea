"""What a recovery holds in memory: samples, tensors on the way, portions, moments; and that less changes nothing."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from autocompress.errors import StorageError
from autocompress.graph.specs import TensorSpec
from autocompress.graph.torch_execution.paused_run import PausedRun
from autocompress.graph.torch_execution.plan import Step
from autocompress.graph.torch_execution.torch_graph import TorchGraph
from autocompress.passes.recover import RecoverConfig, closed_form, optimizer
from autocompress.passes.recover.checkpoint import TrainingState, save_state
from autocompress.passes.recover.closed_form import reconstruct_layers
from autocompress.passes.recover.freed_memory import give_back
from autocompress.passes.recover.optimizer import Descent
from autocompress.passes.recover.pair import Pair
from autocompress.passes.recover.samples import Samples
from autocompress.passes.recover.statistics import correct_batch_norms
from autocompress.passes.recover.walk import Walk, most_held_bytes
from autocompress.progress import NullProgress

torch.set_num_threads(1)
BLOCKS = 4
IMAGES = np.random.default_rng(3).normal(size=(40, 4, 6, 6)).astype(np.float32)
MAP_BYTES = IMAGES[0].nbytes  # of any inner tensor of one sample


def chain(seed: int = 0, normalized: bool = False) -> onnx.ModelProto:
    """Residual blocks of one convolution each, with a batch normalization behind it where asked."""
    rng = np.random.default_rng(seed)
    stored: dict[str, np.ndarray] = {}
    nodes: list[onnx.NodeProto] = []
    x = "x"
    for i in range(BLOCKS):
        stored[f"w{i}"] = rng.normal(size=(4, 4, 3, 3), scale=0.2)
        stored[f"b{i}"] = rng.normal(size=4, scale=0.1)
        nodes.append(helper.make_node("Conv", [x, f"w{i}", f"b{i}"], [f"c{i}"], name=f"conv{i}", pads=[1] * 4))
        result = f"c{i}"
        if normalized:
            numbers = {"g": rng.uniform(0.5, 2, 4), "o": rng.normal(size=4), "m": rng.normal(size=4)}
            stored.update({f"{k}{i}": v for k, v in {**numbers, "v": rng.uniform(0.5, 2, 4)}.items()})
            operands = [result, *(f"{k}{i}" for k in "gomv")]
            nodes.append(helper.make_node("BatchNormalization", operands, [f"n{i}"], name=f"norm{i}"))
            result = f"n{i}"
        nodes += [
            helper.make_node("Add", [x, result], [f"s{i}"], name=f"add{i}"),
            helper.make_node("Relu", [f"s{i}"], [f"r{i}"], name=f"relu{i}"),
        ]
        x = f"r{i}"
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "chain",
        [value("x", TensorProto.FLOAT, ["N", 4, 6, 6])],
        [value(x, TensorProto.FLOAT, ["N", 4, 6, 6])],
        [numpy_helper.from_array(v.astype(np.float32), k) for k, v in stored.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def batches() -> Iterator[dict[str, np.ndarray]]:
    for start, end in ((0, 7), (7, 24), (24, 40)):
        yield {"x": IMAGES[start:end]}


RESULTS = [f"c{i}" for i in range(BLOCKS)]


@torch.no_grad()
def test_a_paused_run_computes_every_node_once_and_gives_what_the_graph_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = TorchGraph(chain())
    wanted = graph.run({"x": IMAGES[:2]}, RESULTS)
    ran: list[str] = []
    real = Step.run
    monkeypatch.setattr(Step, "run", lambda step, values: (ran.append(step.call.node.name), real(step, values))[1])
    run = PausedRun(graph, {"x": IMAGES[:2]}, [*RESULTS, RESULTS[-1], "w1"])
    for name in [*RESULTS, RESULTS[-1]]:
        assert torch.equal(run.advance(), wanted[name])
    assert torch.equal(run.advance(), graph.weights["w1"])
    assert ran == [node.name for node in chain().graph.node][: len(ran)] and len(ran) == 3 * BLOCKS - 2
    assert run.held_bytes() == 0


@torch.no_grad()
def test_a_walk_holds_no_more_than_what_is_still_read() -> None:
    """A result of a convolution and the shortcut around it, however many blocks lie behind."""
    walk = Walk(TorchGraph(chain()), [{"x": IMAGES[:1]}], RESULTS)
    held = [walk.held_bytes()]
    for _ in RESULTS:
        walk.advance()
        held.append(walk.held_bytes())
    assert held == [MAP_BYTES] + [2 * MAP_BYTES] * (BLOCKS - 1) + [0]
    walks = [Walk(TorchGraph(chain()), [{"x": IMAGES[:1]}], RESULTS) for _ in range(2)]
    assert most_held_bytes(walks, BLOCKS) == 4 * MAP_BYTES


@torch.no_grad()
def test_weights_count_from_where_a_run_stands() -> None:
    graph = TorchGraph(chain())
    run = PausedRun(graph, {"x": IMAGES[:2]}, ["c0", "c1"])
    first = run.advance().clone()
    graph.weights["w0"].zero_()  # behind it
    graph.weights["w1"].mul_(2.0)  # ahead of it
    other = TorchGraph(chain())
    other.weights["w1"].mul_(2.0)
    wanted = other.run({"x": IMAGES[:2]}, ["c0", "c1"])
    assert torch.equal(first, wanted["c0"]) and torch.equal(run.advance(), wanted["c1"])


def test_the_closed_form_takes_as_many_samples_as_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = chain()
    seen: list[tuple[int, int]] = []

    class Watched(Walk):
        def __init__(self, graph: TorchGraph, chunks: list, tensors: list[str]) -> None:
            seen.append((len(chunks), sum(len(chunk["x"]) for chunk in chunks)))
            super().__init__(graph, chunks, tensors)

    monkeypatch.setattr(closed_form, "Walk", Watched)
    monkeypatch.setattr(closed_form, "_FEWEST_UNITS", 6)
    for most_bytes, units in ((16 * 3 * MAP_BYTES, 12 + 4), (3 * MAP_BYTES, 6 + 2), (2**30, 30 + 10)):
        seen.clear()
        monkeypatch.setattr(closed_form, "_LIVE_BYTES", most_bytes)
        pair = Pair(chain(1), teacher, RecoverConfig(level="closed_form"))
        reconstruct_layers(pair, Samples(batches, pair.specs), RecoverConfig(level="closed_form"), NullProgress())
        assert seen[0][1] == 1 and seen[-1][1] == units  # the student holds one map of a sample, the teacher two


def test_statistics_are_corrected_layer_after_layer() -> None:
    """By the definition, in numpy, each normalization with the ones ahead already corrected."""
    teacher = chain(normalized=True)
    student = chain(normalized=True)
    for weight in student.graph.initializer:
        if weight.name.startswith("w"):
            weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(0.8), weight.name))
    pair = Pair(student, teacher, RecoverConfig(level="closed_form"))
    plain = TorchGraph(student)
    chunks = [{"x": IMAGES[:25]}, {"x": IMAGES[25:]}]
    assert correct_batch_norms(pair, chunks) == [f"norm{i}" for i in range(BLOCKS)]
    with torch.no_grad():
        for i in range(BLOCKS):
            own, wanted = (g.run({"x": IMAGES}, [f"c{i}"])[f"c{i}"].numpy() for g in (plain, pair.teacher))
            axes = (0, 2, 3)
            plain.weights[f"m{i}"].add_(torch.from_numpy(own.mean(axes) - wanted.mean(axes)))
            plain.weights[f"v{i}"].mul_(torch.from_numpy(own.var(axes) / wanted.var(axes)))
            for name in (f"m{i}", f"v{i}"):
                torch.testing.assert_close(pair.student.weights[name], plain.weights[name], rtol=1e-4, atol=1e-5)


def test_samples_lie_in_memory_once() -> None:
    specs = (TensorSpec("x", "float32", ("N", 64)),)
    data = np.arange(64 * 4096, dtype=np.float32).reshape(4096, 64)
    tracemalloc.start()
    samples = Samples(lambda: iter([{"x": data[s : s + 100]} for s in range(0, 4096, 100)]), specs)
    chosen = np.array([4095, 0, 99, 100, 17])
    taken = samples.take(chosen)[0].feeds["x"]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(samples) == 4096 and np.array_equal(taken, data[chosen])
    assert peak < 0.8 * data.nbytes


def test_parameters_move_alike_together_and_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Matrices, vectors, scales per channel, and one without a gradient; to the last bit."""
    rng = np.random.default_rng(0)
    shapes = [(16, 9), (5,), (12, 3, 3, 3), (7,), ()]
    values = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    results = []
    for most in (10**6, 40, 1):
        monkeypatch.setattr(optimizer, "_MOST_TOGETHER", most)
        parameters = [torch.nn.Parameter(torch.from_numpy(np.array(value))) for value in values]
        scales = [torch.rand(16, 1, generator=torch.Generator().manual_seed(1)), *(torch.tensor(0.5) for _ in range(4))]
        descent = Descent(parameters, scales, 0.1)
        for step in range(4):
            for parameter in parameters[:3] + parameters[4:]:
                parameter.grad = torch.sin(parameter.detach() * (step + 1))
            descent.step(0.01)
        results.append([*(p.detach() for p in parameters), descent.first, descent.second])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))
    assert not torch.equal(results[0][0], torch.from_numpy(values[0]))


def test_a_checkpoint_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="missing"):
        save_state(tmp_path / "missing" / "state.npz", TrainingState({"step": 1}, {"first": [torch.zeros(3)]}))


def test_freed_memory_goes_back_to_the_system() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    if not Path("/proc/self/statm").exists():
        pytest.skip("tells resident memory by /proc")
    pieces = [np.ones(2000) for _ in range(6000)]  # too small for pages of their own
    kept = pieces[::100]
    before = resident()
    del pieces
    give_back()
    assert before - resident() > 48e6 and len(kept) == 60
