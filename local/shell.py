"""Runs other programs, and provides atomic file operations and locks."""

import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from local.console import LocalError, info
from local.paths import CACHE, LOGS

# Strings and paths; every argument is converted with str().
Command = Sequence[object]

_SHOWN_LINES = 25


def output(command: Command, *, stdin: str | None = None, env: Mapping[str, str] | None = None) -> str:
    """Run a short command and return its output; LocalError with the error output if it fails."""
    result = subprocess.run(
        list(map(str, command)),
        input=stdin,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        message = (result.stderr or result.stdout).strip()
        raise LocalError(f"{' '.join(map(str, command))}: exit status {result.returncode}: {message}")
    return result.stdout


def succeeds(command: Command) -> bool:
    """Return whether a short command succeeds; False also if the program is not installed."""
    if not shutil.which(str(command[0])):
        return False
    done = subprocess.run(
        list(map(str, command)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    return done.returncode == 0


def logged(
    command: Command, log: str, *, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> None:
    """Run a long command with its output in a log file; LocalError with the last lines if it fails."""
    LOGS.mkdir(parents=True, exist_ok=True)
    path = LOGS / f"{log}.log"
    with path.open("ab") as file:
        file.write(f"\n$ {' '.join(map(str, command))}\n".encode())
        file.flush()
        code = subprocess.run(
            list(map(str, command)),
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
    if code:
        lines = path.read_text(errors="replace").splitlines()[-_SHOWN_LINES:]
        raise LocalError(
            "\n".join([f"{command[0]} failed with exit status {code}; the last lines of {path}:", *lines])
        )


def write(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w") as file:
        file.write(text)
    Path(temporary).chmod(mode)
    Path(temporary).rename(path)


@contextmanager
def scratch(name: str) -> Iterator[Path]:
    """Yield a temporary folder in the cache, from which results can be renamed into place without a copy."""
    parent = CACHE / "tmp"
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=parent, prefix=f"{name}."))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def lock(name: str) -> Iterator[None]:
    """Hold an exclusive file lock; the kernel releases the lock of a dead process."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            info(f"waiting for another process that holds the lock {name!r}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def wait_for(condition: str, check: Callable[[], bool], timeout: float, interval: float = 0.2) -> None:
    """Poll `check` until it is true; LocalError with `condition` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not check():
        if time.monotonic() > deadline:
            raise LocalError(f"timeout after {timeout:.0f} s; condition not met: {condition}")
        time.sleep(interval)
