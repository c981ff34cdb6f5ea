"""What a command ends with: every way it can end becomes an exit code here, and only here.

typer.Exit              its code                a command decided (0; 3: target not reached; 4: met by estimate only)
TyperException          2   one sentence        wrong usage
AutocompressError       its exit_code, sentence deliberate refusals: see autocompress.errors
KeyboardInterrupt       130                     Ctrl-C or SIGTERM where there was no best result to keep
BrokenPipeError         141                     whoever read our output is gone
anything else           1   one sentence        our fault; the traceback goes to a file
"""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import typer

from autocompress import __version__
from autocompress.errors import AutocompressError

if TYPE_CHECKING:
    from typing import Any

INTERRUPTED = 130
READER_GONE = 141


class Command(Protocol):
    """The part of a click command that is used here."""

    def make_context(self, info_name: str | None, args: list[str]) -> Any:
        """Parses ``args``."""
        ...

    def invoke(self, ctx: Any) -> Any:
        """Runs the parsed command."""
        ...


def exit_code_of(command: Command, arguments: Sequence[str] | None = None) -> int:
    """Runs a command line; says on standard error, in one sentence, what stopped it.

    Args:
        command: the root of the command tree.
        arguments: without the program's name; None takes them from ``sys.argv``.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with _termination_interrupts():
            code = _run(command, given)
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_stdout()
        return READER_GONE
    except KeyboardInterrupt:
        _say("interrupted")
        return INTERRUPTED
    except AutocompressError as error:
        _say(str(error))
        _trace_if_debugging()
        return error.exit_code
    except Exception as error:
        _say(_crash_sentence(error, given))
        _trace_if_debugging()
        return 1
    return code


@contextlib.contextmanager
def _termination_interrupts() -> Iterator[None]:
    """Lets SIGTERM (``kill``, ``timeout``, a container that stops) end a command as cleanly as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(command: Command, arguments: list[str]) -> int:
    try:
        with command.make_context("autocompress", arguments) as context:
            command.invoke(context)
    except typer.Exit as done:
        return done.exit_code
    except typer.Abort:
        raise KeyboardInterrupt from None
    except typer.TyperException as error:
        return _usage(error)
    return 0


def _usage(error: typer.TyperException) -> int:
    """Wrong usage: one sentence, and where the right usage is described."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "autocompress"
    message = error.format_message().strip().rstrip(".")
    # A group called without a command is answered with its help, which typer has printed by now.
    if message and type(error).__name__ != "NoArgsIsHelpError":
        _say(f"{message}; see '{path} --help'")
    return error.exit_code


def _crash_sentence(error: BaseException, arguments: list[str]) -> str:
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    header = f"autocompress {__version__}, Python {platform.python_version()}, {platform.platform()}\n{arguments}\n\n"
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="autocompress-", suffix=".log", delete=False, encoding="utf-8"
        ) as log:
            log.write(header + "".join(traceback.format_exception(error)))
    except OSError:
        return f"autocompress failed unexpectedly ({what}); set AUTOCOMPRESS_DEBUG=1 to see where, and report it"
    return f"autocompress failed unexpectedly ({what}); please report it with the traceback in {log.name}"


def _say(sentence: str) -> None:
    """One red line on standard error; colour only where a person watches and did not refuse it."""
    color = False if os.environ.get("NO_COLOR") else None
    typer.secho(f"error: {' '.join(sentence.split())}", fg=typer.colors.RED, err=True, color=color)


def _trace_if_debugging() -> None:
    if os.environ.get("AUTOCOMPRESS_DEBUG") == "1":
        traceback.print_exc()


def _drop_stdout() -> None:
    """Sends what is still buffered nowhere, so that the interpreter's last flush does not complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
