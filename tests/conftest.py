"""What every test relies on, however the tests were started."""

from __future__ import annotations

import signal

# A shell lets what it starts in the background ignore Ctrl-C, and children inherit that: tests of interrupts, which
# send it to programs of their own, could not work.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
