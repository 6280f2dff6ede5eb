"""Running other programs, and the few file operations that must be atomic."""

import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from local.console import LocalError, say
from local.paths import CACHE, LOGS

# Text and paths, mostly: every argument is passed on as str() writes it.
Command = Sequence[object]

_SHOWN_LINES = 25


def output(command: Command, *, stdin: str | None = None, env: Mapping[str, str] | None = None) -> str:
    """Run a short command and return its output; a failure carries what it said."""
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
        said = (result.stderr or result.stdout).strip()
        raise LocalError(f"{' '.join(map(str, command))}: exit status {result.returncode}: {said}")
    return result.stdout


def succeeds(command: Command) -> bool:
    """Run a short command and return whether it succeeded; for what may be absent, the program included."""
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
    """Run a long command with its output in a log file of the cache; show the end of it on failure."""
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
            "\n".join([f"{command[0]} failed with exit status {code}; the end of {path}:", *lines])
        )


def write(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file so that it is either absent, old or complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w") as file:
        file.write(text)
    Path(temporary).chmod(mode)
    Path(temporary).rename(path)


@contextmanager
def scratch(name: str) -> Iterator[Path]:
    """Give a folder inside the cache, so that a result is renamed into place and never copied."""
    parent = CACHE / "tmp"
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=parent, prefix=f"{name}."))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def lock(name: str) -> Iterator[None]:
    """Let one process at a time do a thing; the kernel frees the lock of a dead one."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another process holds the lock {name!r}: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def wait_for(what: str, check: Callable[[], bool], timeout: float, interval: float = 0.2) -> None:
    """Poll until a condition holds; say what was missing when it never does."""
    deadline = time.monotonic() + timeout
    while not check():
        if time.monotonic() > deadline:
            raise LocalError(f"{what}: not within {timeout:.0f} s")
        time.sleep(interval)
