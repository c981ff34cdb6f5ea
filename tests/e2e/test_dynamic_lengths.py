"""Language models whose length is open: from samples, at stated lengths, and a clear sentence where none is stated."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxscript")

sys.path.append(str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parents[1] / "recipe"))
from small_world import Shell, save_small_space
from torch_modules import CASES, VOCABULARY

LENGTH = 12
REPLAY = ("--runtime", "replay", "--json")


@pytest.fixture(scope="module")
def shell(tmp_path_factory, cache) -> Shell:
    """A folder with ``encoder.onnx``, ``decoder.onnx``, samples for both, and a small search space."""
    import torch

    from autocompress.graph.torch_export import export_module

    folder = tmp_path_factory.mktemp("lengths")
    torch.manual_seed(0)
    for name in ("encoder", "decoder"):
        case = CASES[name]
        model, _ = export_module(case.module(), case.inputs(2, LENGTH), dynamic_shapes=case.open)
        onnx.save(model, folder / f"{name}.onnx")
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, VOCABULARY, (60, LENGTH))
    mask = (np.arange(LENGTH) < rng.integers(4, LENGTH + 1, (60, 1))).astype(np.int64)
    np.savez(folder / "encoder.npz", input_ids=tokens, attention_mask=mask)
    np.savez(folder / "decoder.npz", input_ids=tokens)
    save_small_space(folder / "small.yaml")
    shell = Shell(folder, cache)
    done = shell.call_here("profile", "--model", "encoder.onnx", *REPLAY, *shape("encoder", 16), "-o", "t.jsonl")
    assert done.code == 0, done.err
    return shell


def shape(name: str, length: int) -> tuple[str, ...]:
    given = ("--shape", f"input_ids:1x{length}")
    return given if name == "decoder" else (*given, "--shape", f"attention_mask:1x{length}")


def estimated(shell: Shell, name: str, *shapes: str) -> dict:
    done = shell.call_here("estimate", f"{name}.onnx", *REPLAY, "--latency-table", "t.jsonl", *shapes)
    assert done.code == 0, done.err
    return done.document


@pytest.mark.parametrize("name", ["encoder", "decoder"])
def test_latency_is_told_at_stated_lengths(shell, name) -> None:
    short, long = (estimated(shell, name, *shape(name, length)) for length in (8, 64))
    assert long["latency_ms"] > 1.4 * short["latency_ms"] > 0
    given = (*REPLAY, "--latency-table", "t.jsonl", *shape(name, 64))
    rows = shell.call_here("inspect", f"{name}.onnx", *given).document["ops"]
    assert any(64 in row["shape"] for row in rows)


def test_one_input_tells_the_length_of_all_that_share_it(shell) -> None:
    one = estimated(shell, "encoder", "--shape", "input_ids:1x24")
    assert one["latency_ms"] == estimated(shell, "encoder", *shape("encoder", 24))["latency_ms"]


def test_a_profile_at_a_stated_length_prices_every_operator_there(shell) -> None:
    known = estimated(shell, "encoder", *shape("encoder", 16))
    assert known["coverage"] == pytest.approx(1.0)
    assert not any("timed now" in notice for notice in known["notices"])
    # Another length has other operators; there are no forests beside this table.
    other = estimated(shell, "encoder", *shape("encoder", 17))
    assert any("timed now" in notice for notice in other["notices"])


def test_it_is_measured_at_a_stated_length(shell) -> None:
    measured = shell.call_here("measure", "decoder.onnx", *shape("decoder", 16), "--budget", "0.3s", "--json")
    assert measured.document["a"]["latency_ms"] > 0


@pytest.mark.parametrize("name", ["encoder", "decoder"])
def test_a_run_takes_the_length_from_the_samples(shell, name) -> None:
    done = shell.call_here(
        "run", f"{name}.onnx", "--data", f"{name}.npz", "--runtime", "replay", "--search-space", "small.yaml",
        "--trials", "2", "--workers", "0", "--target-speedup", "1.2x", "--max-accuracy-drop", "50%", "--output", name,
        "--storage", f"{name}.db", "--json",
    )  # fmt: skip
    assert done.code in (0, 3), done.err
    assert json.loads((shell.folder / name / "summary.json").read_text())["best"]["n"] > 0
    emitted = onnx.load(shell.folder / name / "best.onnx")
    declared = emitted.graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_param for dim in declared] == ["batch", "sequence"]


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        ((), "--shape input_ids:BATCHxSEQUENCE"),
        (("input_ids:1x8x3",), "has 2 dimensions (batchxsequence), but 3 were given (1x8x3)"),
        (("tokens:1x8",), "has no input 'tokens'; its inputs are 'input_ids', 'attention_mask'"),
        (("input_ids:1x8", "attention_mask:1x9"), "'sequence' is given as 8 and, in the input 'attention_mask', as 9"),
        (("input_ids:1x0",), "every size must be at least 1"),
        (("input_ids:1x100",), "while running"),
    ],
)
@pytest.mark.parametrize("command", [("estimate",), ("measure",), ("profile", "--model")])
def test_a_shape_that_does_not_fit_is_one_sentence(shell, command, shapes, said) -> None:
    given = [part for text in shapes for part in ("--shape", text)]
    done = shell.call_here(*command, "encoder.onnx", *given, "--json")
    assert done.code == 2
    assert done.out == ""
    assert said in done.sentence


def test_a_module_from_python_comes_out_with_its_parameters_named(shell, tmp_path, monkeypatch) -> None:
    import torch

    import autocompress

    monkeypatch.setenv("AUTOCOMPRESS_CACHE", str(shell.cache))
    case = CASES["decoder"]
    module = case.module()
    result = autocompress.compress(
        module,
        {"input_ids": np.load(shell.folder / "decoder.npz")["input_ids"]},
        example_input=case.inputs(2, LENGTH),
        dynamic_shapes=case.open,
        runtime="replay",
        search_space=shell.folder / "small.yaml",
        trials=2,
        workers=0,
        target_speedup=1.1,
        max_accuracy_drop="50%",
        output=tmp_path / "out",
        storage=str(tmp_path / "s.db"),
    )
    emitted = onnx.load(tmp_path / "out" / "best.onnx")
    held = result.summary["parameters"]
    assert set(held) <= {weight.name for weight in emitted.graph.initializer}
    weights = {name for name, parameter in module.named_parameters() if parameter.ndim == 2}
    assert weights <= {name for parameters in held.values() for name in parameters}
    assert module.training
    assert all(torch.isfinite(parameter).all() for parameter in module.parameters())
