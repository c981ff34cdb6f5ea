"""The command line as a Markdown page, made from the commands themselves.

``python -m autocompress.cli.reference docs/cli.md`` writes the page; with ``--check`` it only says whether the page is
current, and ends with 1 if it is not.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

_INTRODUCTION = """\
# Command line

<!-- Written by `python -m autocompress.cli.reference docs/cli.md`; do not edit. -->

Every command answers `--help`. Every command that prints a result takes `--json` and then prints exactly one JSON
document on standard output; everything else goes to standard error. [What the exit codes mean](exit_codes.md).
"""


def reference() -> str:
    """The page: one section per command, one table row per argument and option."""
    from autocompress.cli.main import app

    root = typer.main.get_command(app)
    sections = [_section(path, command) for path, command in commands(root)]
    return _INTRODUCTION + "".join(f"\n{section}" for section in sections)


def commands(command: Any, path: str = "autocompress") -> Iterator[tuple[str, Any]]:
    """Every command that does something, as ("autocompress study list", command); groups are only walked through."""
    children = getattr(command, "commands", None)
    if children is None:
        yield path, command
        return
    for name, child in children.items():
        yield from commands(child, f"{path} {name}")


def _section(path: str, command: Any) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
    words = [path, *(_placeholder(p) for p in arguments), *(_required(p) for p in options if p.required)]
    usage = " ".join([*words, "[OPTIONS]"])
    text = f"## {path}\n\n```\n{usage}\n```\n\n{_paragraphs(command.help)}\n"
    if arguments:
        text += "\n| Argument | |\n| --- | --- |\n" + "".join(_row(_metavar(p), p) for p in arguments)
    if options:
        text += "\n| Option | |\n| --- | --- |\n" + "".join(_row(_flags(p), p) for p in options)
    return text


def _row(name: str, parameter: Any) -> str:
    text = " ".join((parameter.help or "").split()).replace("|", "\\|")
    default = _default(parameter)
    return f"| `{name}` | {text}{f' Default: `{default}`.' if default else ''} |\n"


def _default(parameter: Any) -> str:
    """The default as a person would type it; nothing for a switch, a required value, or "not given"."""
    if isinstance(parameter.show_default, str):
        return parameter.show_default
    if getattr(parameter, "is_flag", False) or parameter.default in (None, ()):
        return ""
    return str(parameter.default)


def _flags(parameter: Any) -> str:
    flags = ", ".join([*parameter.opts, *parameter.secondary_opts])
    return flags if getattr(parameter, "is_flag", False) else f"{flags} {_metavar(parameter)}"


def _required(parameter: Any) -> str:
    return f"{parameter.opts[0]} {_metavar(parameter)}"


def _placeholder(parameter: Any) -> str:
    return _metavar(parameter) if parameter.required else f"[{_metavar(parameter)}]"


def _metavar(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.upper())


def _paragraphs(text: str | None) -> str:
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in (text or "").split("\n\n"))


def main(arguments: list[str]) -> int:
    """Writes or checks the page; returns 1 when a checked page is not current."""
    page = Path(next(argument for argument in arguments if argument != "--check"))
    if "--check" not in arguments:
        page.write_text(reference(), encoding="utf-8")
        return 0
    if page.read_text(encoding="utf-8") == reference():
        return 0
    print(f"{page} is not current; run python -m autocompress.cli.reference {page}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
