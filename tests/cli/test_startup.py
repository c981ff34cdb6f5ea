from __future__ import annotations

import re
import subprocess
import sys

import pytest
import typer

from autocompress.cli.main import app
from autocompress.cli.reference import commands

HEAVY = {
    "matplotlib",
    "numpy",
    "onnx",
    "onnxruntime",
    "openvino",
    "optuna",
    "pandas",
    "PIL",
    "plotly",
    "pydantic",
    "scipy",
    "sklearn",
    "sqlalchemy",
    "torch",
    "yaml",
}


def _imported(arguments: list[str], repository) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "autocompress", *arguments],
        capture_output=True,
        text=True,
        cwd=repository,
        check=True,
    )
    names = re.findall(r"^import time:.*\|\s+(\S+)$", done.stderr, flags=re.M)
    assert "autocompress.cli.main" in names
    return {name.split(".")[0] for name in names}


# typer itself imports pydantic as soon as a command's own parameters are read.
HEAVY_FOR_COMMANDS = HEAVY - {"pydantic"}


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_answering_imports_nothing_heavy(arguments, repository):
    assert _imported(arguments, repository) & HEAVY == set()


def test_help_of_the_main_command_imports_nothing_heavy(repository):
    assert _imported(["run", "--help"], repository) & HEAVY_FOR_COMMANDS == set()


def test_no_command_imports_anything_heavy_for_its_help(repository):
    paths = [path.split()[1:] for path, _ in commands(typer.main.get_command(app))]
    program = (
        "import contextlib, io, sys\nfrom autocompress.cli.main import main\n"
        f"for path in {paths!r}:\n"
        "    with contextlib.redirect_stdout(io.StringIO()): assert main([*path, '--help']) == 0\n"
        f"print(sorted({HEAVY_FOR_COMMANDS!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=repository, check=True)
    assert done.stdout.strip() == "[]"


def test_the_package_itself_is_light(repository):
    program = f"import sys, autocompress; dir(autocompress); print(sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=repository, check=True)
    assert done.stdout.strip() == "[]"
