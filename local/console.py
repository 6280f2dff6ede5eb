"""Progress output: one line per step with its duration."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_START = time.monotonic()
_TICK = 15.0  # seconds between reminders of a running step
_LOCK = threading.Lock()


class LocalError(Exception):
    """An error that the user can fix; the message names the cause and, if known, the next step."""


def info(text: str) -> None:
    """Print one line with the seconds since the command started.

    It goes to stderr, because some commands print only their result, such as a path, to stdout.
    """
    with _LOCK:
        print(f"[{time.monotonic() - _START:5.0f} s] {text}", file=sys.stderr, flush=True)


@contextmanager
def step(text: str) -> Iterator[None]:
    """Print the start of a step, reminders while it runs, and its duration or failure."""
    info(f"{text} ...")
    begin = time.monotonic()
    done = threading.Event()

    def remind() -> None:
        while not done.wait(_TICK):
            info(f"{text}: still running after {time.monotonic() - begin:.0f} s")

    reminder = threading.Thread(target=remind, daemon=True)
    reminder.start()
    try:
        yield
    except BaseException:
        info(f"{text}: failed after {time.monotonic() - begin:.1f} s")
        raise
    finally:
        done.set()
        reminder.join()
    info(f"{text}: done in {time.monotonic() - begin:.1f} s")
