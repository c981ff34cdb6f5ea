from __future__ import annotations

import errno
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from autocompress import errors
from autocompress.cli.failures import exit_code_of
from autocompress.cli.main import main


@pytest.fixture
def ending(monkeypatch, tmp_path):
    """A command line whose only command ends with the given exception."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.delenv("AUTOCOMPRESS_DEBUG", raising=False)

    def _ending(raised: BaseException) -> int:
        app = typer.Typer(add_completion=False)

        @app.command()
        def work() -> None:
            raise raised

        return exit_code_of(typer.main.get_command(app), [])

    return _ending


def _classes() -> list[type[errors.AutocompressError]]:
    found = [errors.AutocompressError]
    for cls in found:
        found.extend(cls.__subclasses__())
    return [cls for cls in found if cls.__module__ == errors.__name__]


@pytest.mark.parametrize("cls", _classes())
def test_a_deliberate_error_is_one_sentence_and_its_code(cls, ending, capsys):
    assert ending(cls("model.onnx is truncated;\n  give another")) == cls.exit_code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "error: model.onnx is truncated; give another\n"


def test_the_codes_are_those_that_the_documentation_promises():
    promised = {"UserError": 2, "ConfigError": 2, "StorageError": 2, "NothingToCompress": 3, "RuntimeFailure": 1}
    codes = {cls.__name__: cls.exit_code for cls in _classes()}
    assert {name: codes[name] for name in promised} == promised


@pytest.mark.parametrize("raised", [KeyError("x"), MemoryError(), RecursionError("deep"), OSError(28, "disk full")])
def test_an_unexpected_one_is_one_sentence_and_a_log(raised, ending, capsys, tmp_path):
    assert ending(raised) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert type(raised).__name__ in err
    assert "Traceback" not in err
    log = Path(re.search(r"traceback in (\S+)", err)[1])
    assert log.parent == tmp_path
    text = log.read_text(encoding="utf-8")
    assert "Traceback" in text
    assert "in work" in text
    assert "autocompress" in text.splitlines()[0]


def test_an_unexpected_one_where_no_log_can_be_written(ending, capsys, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr("tempfile.NamedTemporaryFile", full)
    assert ending(ValueError("bad")) == 1
    assert "failed unexpectedly (ValueError: bad); set AUTOCOMPRESS_DEBUG=1" in capsys.readouterr().err


@pytest.mark.parametrize("raised", [ValueError("bad"), errors.ModelError("bad")])
def test_debugging_shows_the_traceback(raised, ending, capsys, monkeypatch):
    monkeypatch.setenv("AUTOCOMPRESS_DEBUG", "1")
    ending(raised)
    assert "Traceback" in capsys.readouterr().err


def test_interrupted(ending, capsys):
    assert ending(KeyboardInterrupt()) == 130
    assert ending(typer.Abort()) == 130
    assert capsys.readouterr().err == "error: interrupted\n" * 2


def test_a_command_may_decide(ending, capsys):
    assert ending(typer.Exit(3)) == 3
    assert ending(typer.Exit()) == 0
    assert capsys.readouterr().err == ""


def test_colour_only_where_it_is_wanted(ending, capsys):
    ending(errors.ModelError("bad"))
    assert "\x1b" not in capsys.readouterr().err


@pytest.mark.parametrize("lines", [1, 200_000])
def test_a_reader_that_leaves_is_no_failure(repository, lines):
    program = (
        "import sys, typer\nfrom autocompress.cli.failures import exit_code_of\n"
        "app = typer.Typer(add_completion=False)\n"
        f"@app.command()\ndef work() -> None:\n    sys.stdin.readline()\n    print('line\\n' * {lines})\n"
        "sys.exit(exit_code_of(typer.main.get_command(app), []))\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=repository,
    )
    child.stdout.close()
    _, err = child.communicate(b"go\n")
    assert (child.returncode, err) == (141, b"")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["runn"], "No such command 'runn'. Did you mean 'run'?; see 'autocompress --help'"),
        (["run", "--target-sped", "2"], "see 'autocompress run --help'"),
        (["run", "--threads", "two"], "'--threads'"),
        (["run", "--target-speedup"], "--target-speedup"),
        (["measure"], "Missing argument 'A'; see 'autocompress measure --help'"),
        (["study", "show"], "Missing argument 'STUDY'"),
        (["apply", "r.json", "m.onnx"], "Missing option '--output'"),
        (["study", "lst"], "Did you mean 'list'?"),
    ],
)
def test_wrong_usage_is_one_sentence_and_2(arguments, sentence, capsys):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert sentence in captured.err
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--target-speedup", "0"], "target speedup '0' must be above zero"),
        (["--target-speedup", "-2x"], "target speedup '-2x' must be above zero"),
        (["--target-speedup", "fast"], "target speedup 'fast' is not a number"),
        (["--target-speedup", "nan"], "target speedup 'nan' is not a number"),
        (["--target-latency", "5"], "target latency '5' has no unit"),
        (["--target-size", "0MB"], "target size '0MB' is not a size"),
        (["--max-accuracy-drop", "-1%"], "max accuracy drop '-1%' must be zero or more"),
        (["--timeout", "soon"], "duration 'soon'"),
        (["--threads", "0"], "threads '0'"),
        (["--shape", "x:0x3"], "every size must be at least 1"),
        (["--deterministic"], "deterministic needs trials"),
        (["--config", "none.yaml"], "cannot read the configuration none.yaml"),
    ],
)
def test_bad_options_of_a_run_are_refused_before_anything_is_opened(arguments, sentence, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["run", "m.onnx", "--data", "d.npz", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert sentence in captured.err
    assert captured.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_version(capsys):
    import autocompress

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"autocompress {autocompress.__version__}\n"


@pytest.mark.parametrize("group", [[], ["study"], ["table"]])
def test_a_group_alone_shows_its_help(group, capsys):
    assert main(group) == 2
    captured = capsys.readouterr()
    assert "Usage" in captured.out + captured.err
    assert "error" not in captured.err
