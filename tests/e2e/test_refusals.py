"""Bad input that is found before anything runs: one sentence, exit code 2, and nothing written over."""

from __future__ import annotations

import io
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from small_world import digest, images

from autocompress.cli.main import main

Spoil = Callable[[Path], object]


def rewrite(change: Callable[[onnx.ModelProto], object]) -> Spoil:
    """Changes the model file; nothing is checked."""

    def spoil(folder: Path) -> None:
        model = onnx.load(folder / "m.onnx")
        change(model)
        (folder / "m.onnx").write_bytes(model.SerializeToString())

    return spoil


def cut(name: str, part: float) -> Spoil:
    def spoil(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(len(content) * part)])

    return spoil


def samples(**arrays: np.ndarray) -> Spoil:
    return lambda folder: np.savez(folder / "d.npz", **arrays)


def write(name: str, content: str | bytes) -> Spoil:
    return lambda folder: (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def remove(name: str) -> Spoil:
    return lambda folder: (folder / name).unlink()


def external(change: Callable[[Path, onnx.ModelProto], object]) -> Spoil:
    """Moves the weights to ``w.bin`` and spoils them there."""

    def spoil(folder: Path) -> None:
        path = folder / "m.onnx"
        onnx.save(onnx.load(path), path, save_as_external_data=True, size_threshold=0, location="w.bin")
        model = onnx.load(path, load_external_data=False)
        change(folder, model)
        path.write_bytes(model.SerializeToString())

    return spoil


def elsewhere(_: Path, model: onnx.ModelProto) -> None:
    for weight in model.graph.initializer:
        weight.external_data[0].value = "../outside.bin"


def rename_operator(domain: str) -> Callable[[onnx.ModelProto], object]:
    def change(model: onnx.ModelProto) -> None:
        model.graph.node[1].op_type, model.graph.node[1].domain = "Frobnicate", domain
        if domain:
            model.opset_import.append(helper.make_opsetid(domain, 1))

    return change


def newer_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 99


def fixed_batch(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 8


def sequence_output(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("SequenceConstruct", ["scores"], ["all"]))
    model.graph.output.append(helper.make_tensor_sequence_value_info("all", TensorProto.FLOAT, None))


def foreign_database(folder: Path) -> None:
    connection = sqlite3.connect(folder / "other.db")
    connection.execute("create table songs (title text)")
    connection.commit()
    connection.close()


X = images(60)
LABELS = np.zeros(60, np.int64)

# What is wrong: how it comes about, further arguments, a word of the sentence.
CASES: dict[str, tuple[Spoil | None, tuple[str, ...], str]] = {
    "no model": (remove("m.onnx"), (), "does not exist"),
    "empty model": (write("m.onnx", b""), (), "empty"),
    "no ONNX file": (write("m.onnx", "once upon a time " * 40), (), "not an ONNX file"),
    "truncated model": (cut("m.onnx", 0.5), (), "truncated"),
    "model without its last bytes": (cut("m.onnx", 0.999), (), "truncated"),
    "external data missing": (external(lambda folder, _: (folder / "w.bin").unlink()), (), "missing"),
    "external data too short": (external(lambda folder, _: cut("w.bin", 0.5)(folder)), (), "too short"),
    "external data outside": (external(elsewhere), (), "outside"),
    "unknown opset": (rewrite(newer_opset), (), "opset 99"),
    "unknown operator": (rewrite(rename_operator("")), (), "Frobnicate"),
    "unknown domain": (rewrite(rename_operator("my.own")), (), "my.own"),
    "fixed batch": (rewrite(fixed_batch), (), "batch"),
    "output that is no tensor": (rewrite(sequence_output), (), "not a tensor"),
    "no data": (remove("d.npz"), (), "does not exist"),
    "no data file": (write("d.npz", "nonsense"), (), ".npz"),
    "truncated data": (cut("d.npz", 0.5), (), "truncated"),
    "pickled data": (samples(x=np.array([{}] * 60, dtype=object), labels=LABELS), (), "Python objects"),
    "wrong shape": (samples(x=X[:, :2], labels=LABELS), (), "(n, 3, 16, 16)"),
    "wrong rank": (samples(x=X.reshape(60, -1), labels=LABELS), (), "(n, 3, 16, 16)"),
    "text as data": (samples(x=np.array(["a"] * 60), labels=LABELS), (), "no number"),
    "wrong names": (samples(a=X, b=X), (), "rename"),
    "too few samples": (samples(x=X[:11], labels=LABELS[:11]), (), "too few"),
    "no samples": (samples(x=X[:0], labels=LABELS[:0]), (), "empty"),
    "labels missing for one": (samples(x=X, labels=LABELS[:59]), (), "59"),
    "NaN as a label": (samples(x=X, labels=np.full(60, np.nan)), (), "NaN"),
    "unknown metric": (None, ("--metric", "accuracy"), "'accuracy'"),
    "target of zero": (None, ("--target-speedup", "0"), "above zero"),
    "negative target": (None, ("--target-speedup=-1",), "above zero"),
    "target that is no number": (None, ("--target-speedup", "abc"), "not a number"),
    "slower as a target": (None, ("--target-speedup", "0.5"), "slower"),
    "latency without a unit": (None, ("--target-latency", "5"), "unit"),
    "size without a unit": (None, ("--target-size", "10"), "unit"),
    "negative drop": (None, ("--max-accuracy-drop=-1%",), "zero or more"),
    "drop that is no number": (None, ("--max-accuracy-drop", "nan"), "not a number"),
    "no threads": (None, ("--threads", "0"), "threads"),
    "too many threads": (None, ("--threads", "100000"), "1024"),
    "no trials": (None, ("--trials", "0"), "trials"),
    "no time": (None, ("--timeout", "0"), "above zero"),
    "unknown runtime": (None, ("--runtime", "abacus"), "abacus"),
    "unknown space": (None, ("--search-space", "outer"), "outer"),
    "malformed space": (write("s.yaml", "scheme: [1"), ("--search-space", "s.yaml"), "s.yaml"),
    "malformed preprocessing": (write("p.yaml", "skale: 1"), ("--preprocess", "p.yaml"), "skale"),
    "no table": (None, ("--latency-table", "t.jsonl"), "t.jsonl"),
    "damaged table": (write("t.jsonl", '{"format": 1'), ("--latency-table", "t.jsonl"), "t.jsonl"),
    "deterministic without trials": (None, ("--deterministic",), "deterministic"),
    "output is a file": (write("f", "a file"), ("--output", "f"), "--output"),
    "output below a file": (write("f", "a file"), ("--output", "f/out"), "--output"),
    "model in the place of the result": (
        lambda folder: (folder / "m.onnx").rename(folder / "best.onnx"),
        ("--output", "."),
        "written over",
    ),
    "storage is a folder": (None, ("--storage", "out"), "folder"),
    "storage is something else": (write("n.db", "notes " * 99), ("--storage", "n.db"), "not a study database"),
    "database of another program": (foreign_database, ("--storage", "other.db"), "another program"),
    "nothing to resume": (None, ("--resume", "--storage", "new.db"), "new.db"),
}


@pytest.mark.parametrize("case", CASES)
def test_refused(case, home, monkeypatch, capfd):
    spoil, arguments, word = CASES[case]
    if spoil is not None:
        spoil(home.folder)
    monkeypatch.chdir(home.folder)
    monkeypatch.setenv("AUTOCOMPRESS_CACHE", str(home.shell.cache))
    before = {path: digest(path) for path in home.folder.iterdir()}
    model = "best.onnx" if case == "model in the place of the result" else "m.onnx"
    given = ["run", model, *home.short()[1:], *arguments]
    if case == "deterministic without trials":
        given = [part for part in given if part not in ("--trials", "2", "--timeout", "60s")]
    assert main(given) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("error: ")
    assert word in captured.err
    assert {path: digest(path) for path in home.folder.iterdir()} == before


SMALL_COMMANDS = {
    "measure: dynamic size": (["measure", "m.onnx"], "--shape"),
    "estimate: dynamic size": (["estimate", "m.onnx"], "--shape"),
    "inspect: dynamic size": (["inspect", "m.onnx"], "--shape"),
    "measure: unknown input": (["measure", "m.onnx", "--shape", "z:1x3x16x16"], "'z'"),
    "measure: malformed sizes": (["measure", "m.onnx", "--shape", "x:1x3xA"], "1x3xA"),
    "measure: contradicting size": (["measure", "m.onnx", "--shape", "x:1x5x16x16"], "fixed size 3"),
    "measure: too large": (["measure", "m.onnx", "--shape", "x:1x3x9000000x9000000"], "memory"),
    "apply: no recipe": (["apply", "r.json", "m.onnx", "-o", "o.onnx"], "r.json"),
    "apply: another document": (["apply", "out/summary.json", "m.onnx", "-o", "o.onnx"], "out/summary.json"),
    "sensitivity: no data": (["sensitivity", "m.onnx", "--data", "n.npz"], "n.npz"),
    "study: no database": (["study", "list", "--storage", "none.db"], "none.db"),
    "report: no database": (["report", "s", "--storage", "none.db"], "none.db"),
    "delete: nobody answers": (["study", "delete", "s", "--storage", "none.db"], "--yes"),
}


@pytest.mark.parametrize("case", SMALL_COMMANDS)
def test_refused_by_other_commands(case, home, monkeypatch, capfd):
    arguments, word = SMALL_COMMANDS[case]
    model = onnx.load(home.folder / "m.onnx")
    for axis, name in ((2, "h"), (3, "w")):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
    onnx.save(model, home.folder / "m.onnx")
    monkeypatch.chdir(home.folder)
    monkeypatch.setenv("AUTOCOMPRESS_CACHE", str(home.shell.cache))
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    before = digest(home.folder)
    assert main([*arguments, "--json"]) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert word in captured.err.splitlines()[-1]
    assert captured.err.count("error: ") == 1
    assert digest(home.folder) == before
