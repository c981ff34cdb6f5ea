"""What went wrong in a task, as one deliberate error: ours unchanged, everything else as CandidateFailed."""

from __future__ import annotations

import copy
import signal

from autocompress.errors import AutocompressError, CandidateFailed

# Signals that somebody sends; the others come from the process's own faults.
_SENT_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT})
_MAX_MESSAGE_CHARS = 1000
_MAX_LAST_WORDS_CHARS = 300


def call_name(fn: object) -> str:
    """What to call ``fn`` in a message: its own name, or that of the function a partial wraps."""
    fn = getattr(fn, "func", fn)
    return str(getattr(fn, "__qualname__", None) or type(fn).__qualname__).rpartition(".<locals>.")[2]


def deliberate(error: BaseException, what: str, skip_frames: int = 1) -> AutocompressError:
    """The deliberate error that stands for ``error``, with the traceback's text as a note.

    Args:
        error: as raised by the task.
        what: name of the task.
        skip_frames: outermost frames of the traceback to leave out, being ours.

    Returns:
        ``error`` itself where it is an AutocompressError, else a CandidateFailed that names it.
    """
    remote = _traceback_text(error, skip_frames)
    if isinstance(error, AutocompressError):
        known: AutocompressError = error
    elif isinstance(error, MemoryError):
        known = CandidateFailed(f"{what} ran out of memory ({_one_line(error)})")
    else:
        known = CandidateFailed(f"{what} failed with {_one_line(error)}")
    known.add_note(f"Raised in {what}:\n{remote}")
    return known


def exit_cause(returncode: int, what: str) -> str:
    """One clause on a worker process that ended by itself.

    Args:
        returncode: as of :class:`subprocess.Popen`: negative for a signal.
        what: name of the task it was running.
    """
    if returncode == -signal.SIGKILL:
        return f"the worker process was killed by signal 9 (out of memory?) while running {what}"
    if -returncode in _SENT_SIGNALS:
        return f"the worker process was ended by {_signal_name(-returncode)} while running {what}"
    if returncode < 0:
        return f"the runtime crashed with {_signal_name(-returncode)} while running {what}"
    return f"the worker process ended with exit code {returncode} while running {what}"


def with_last_words(cause: str, stderr_tail: str) -> str:
    """``cause``, and the last thing the process said before the interpreter's own dump of its stacks."""
    said = stderr_tail.partition("Fatal Python error:")[0]
    last = " / ".join(said.split("\n")[-3:]) if (said := said.strip()) else ""
    return f"{cause}; its last words: {last[-_MAX_LAST_WORDS_CHARS:]}" if last else cause


def noted(error: AutocompressError, stderr_tail: str) -> AutocompressError:
    """``error`` with the end of the worker's standard error as a note, where there is any."""
    if stderr_tail:
        error.add_note(f"End of the worker's standard error:\n{stderr_tail}")
    return error


def fresh(error: AutocompressError) -> AutocompressError:
    """A copy to raise in one more place; one exception raised in several would gather all their tracebacks."""
    try:
        copied = copy.copy(error)
    except TypeError:  # a class with arguments of its own
        return error
    if hasattr(error, "__notes__"):
        copied.__notes__ = list(error.__notes__)
    return copied


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _one_line(error: BaseException) -> str:
    text = f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")
    return text if len(text) <= _MAX_MESSAGE_CHARS else f"{text[:_MAX_MESSAGE_CHARS]}..."


def _traceback_text(error: BaseException, skip_frames: int) -> str:
    import traceback

    frames = error.__traceback__
    for _ in range(skip_frames):
        frames = frames.tb_next if frames is not None else None
    return "".join(traceback.format_exception(type(error), error, frames)).rstrip()
