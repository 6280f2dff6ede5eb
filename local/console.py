"""What a person sees while waiting: one line per step, with the time it took."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_START = time.monotonic()
_TICK = 15.0  # seconds of silence after which a running step says that it still runs
_LOCK = threading.Lock()


class LocalError(Exception):
    """Something that a person can act on; the message says what."""


def say(text: str) -> None:
    """Print one line with the seconds since the command started.

    On stderr, so that a command whose result is a path prints nothing else on stdout.
    """
    with _LOCK:
        print(f"[{time.monotonic() - _START:5.0f} s] {text}", file=sys.stderr, flush=True)


@contextmanager
def step(text: str) -> Iterator[None]:
    """Announce a step, remind of it while it runs, and say how long it took."""
    say(f"{text} ...")
    begin = time.monotonic()
    done = threading.Event()

    def remind() -> None:
        while not done.wait(_TICK):
            say(f"{text} ... still running, {time.monotonic() - begin:.0f} s")

    reminder = threading.Thread(target=remind, daemon=True)
    reminder.start()
    try:
        yield
    except BaseException:
        say(f"{text}: FAILED after {time.monotonic() - begin:.1f} s")
        raise
    finally:
        done.set()
        reminder.join()
    say(f"{text}: done in {time.monotonic() - begin:.1f} s")
