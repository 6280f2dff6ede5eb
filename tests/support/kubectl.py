"""kubectl as a typed function, watches that record the time of each event, and waits with a diagnosis."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support import containers, rest

Manifest = dict[str, Any]
REPOSITORY = Path(__file__).resolve().parent.parent.parent
# Deadlines are for conditions that never become true. A slow machine must not fail a test.
PATIENCE = 60.0


class KubectlError(Exception):
    """kubectl failed, or a request in its place; the message is its output."""


class NotFoundError(KubectlError):
    """The object does not exist."""


class NeverHappened(AssertionError):  # noqa: N818 - the name states the fact
    """The condition that a test waits for did not become true in time."""


def local(*arguments: str) -> str:
    """Run a command of the local Kubernetes."""
    command = [sys.executable, "-m", "local", *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=180, check=False)
    if done.returncode:
        raise KubectlError(f"python -m local {' '.join(arguments)}: {done.stderr or done.stdout}")
    return done.stdout.strip()


def kubeconfig() -> str:
    """Return the kubeconfig to use: the environment's, or that of the local Kubernetes."""
    return os.environ.get("KUBECONFIG") or local("kubeconfig")


@dataclass(frozen=True)
class Kubectl:
    """kubectl with a kubeconfig and a namespace."""

    config: str
    namespace: str = "default"

    def within(self, namespace: str) -> "Kubectl":
        """Return the same for another namespace."""
        return replace(self, namespace=namespace)

    def command(self, *arguments: str) -> list[str]:
        """Return the whole command line."""
        return ["kubectl", f"--kubeconfig={self.config}", f"--namespace={self.namespace}", *arguments]

    def run(self, *arguments: str, stdin: str | None = None, seconds: float = 60) -> str:
        """Run kubectl; KubectlError when it fails or hangs."""
        return self._output(self.command(*arguments), stdin, seconds, f"kubectl {' '.join(arguments)[:200]}")

    def _output(self, command: list[str], stdin: str | None, seconds: float, what: str) -> str:
        try:
            done = subprocess.run(
                command,
                input=stdin,
                stdin=subprocess.DEVNULL if stdin is None else None,
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise KubectlError(f"{what}: still running after {seconds} s") from None
        if done.returncode:
            raise KubectlError(f"{what}: {done.stderr.strip()} {done.stdout.strip()}")
        return done.stdout

    def _ask(self, verb: str, location: str, *arguments: Any, **query: str) -> Manifest:
        try:
            found: Manifest = getattr(rest.client(self.config), verb)(location, *arguments, **query)
        except rest.Refused as error:
            kind = NotFoundError if error.status == HTTPStatus.NOT_FOUND else KubectlError
            raise kind(str(error)) from error
        return found

    def apply(self, *manifests: Manifest) -> None:
        """Apply objects with strict validation: the API server rejects unknown fields."""
        for manifest in manifests:
            if (location := rest.path(manifest["kind"].lower(), self.namespace)) is None:
                how = ("--server-side", "--force-conflicts", "--validate=strict", "--filename=-")
                self.run("apply", *how, stdin=json.dumps(manifest))
            else:
                self._ask("apply", f"{location}/{manifest['metadata']['name']}", manifest)

    def get(self, kind: str, name: str) -> Manifest:
        """Read one object."""
        found = self.find(kind, name)
        if found is None:
            raise NotFoundError(f"Error from server (NotFound): {kind} {name!r} not found")
        return found

    def find(self, kind: str, name: str) -> Manifest | None:
        """Read one object that may be absent."""
        if (location := rest.path(kind, self.namespace)) is None:
            found = self.run("get", kind, name, "--output=json", "--ignore-not-found")
            return json.loads(found) if found.strip() else None
        try:
            return self._ask("get", f"{location}/{name}")
        except NotFoundError:
            return None

    def items(self, kinds: str, selector: str = "") -> list[Manifest]:
        """Read the objects of one or several kinds ("pods,services")."""
        locations = [rest.path(kind, self.namespace) for kind in kinds.split(",")]
        if None in locations:
            arguments = [f"--selector={selector}"] if selector else []
            return json.loads(self.run("get", kinds, "--output=json", *arguments))["items"]
        lists = [self._ask("get", str(location), selector=selector) for location in locations]
        return [item for found in lists for item in rest.objects(found)]

    def names(self, kinds: str, selector: str = "") -> list[str]:
        """Return the names of objects, sorted."""
        return sorted(item["metadata"]["name"] for item in self.items(kinds, selector))

    def patch(self, kind: str, name: str, patch: Manifest, *arguments: str) -> None:
        """Merge a patch into an object."""
        location = rest.path(kind, self.namespace)
        if location is None or arguments:
            self.run("patch", kind, name, "--type=merge", f"--patch={json.dumps(patch)}", *arguments)
        else:
            self._ask("merge", f"{location}/{name}", patch)

    def delete(self, kind: str, name: str, *arguments: str) -> None:
        """Delete an object without waiting until it is gone."""
        location = rest.path(kind, self.namespace)
        if location is None or arguments:
            self.run("delete", kind, name, "--wait=false", "--ignore-not-found", *arguments)
            return
        with suppress(NotFoundError):
            self._ask("delete", f"{location}/{name}")

    def exec(
        self, pod: str, *command: str, container: str = "", stdin: str | None = None, seconds: float = 60
    ) -> str:
        """Run a command in a container; `kubectl exec` only where it is not on this machine."""
        with suppress(containers.NotHere):
            entered = containers.enter(self.get("pod", pod), container)
            what = f"{pod}: {' '.join(command)[:200]}"
            return self._output([*entered, *command], stdin, seconds, what)
        where = ["exec", pod, *([f"--container={container}"] if container else [])]
        where += ["--stdin"] if stdin is not None else []
        return self.run(*where, "--", *command, stdin=stdin, seconds=seconds)

    def logs(self, pod: str, *arguments: str) -> str:
        """Return a pod's log, or the error if it has none."""
        try:
            return self.run("logs", pod, *arguments)
        except KubectlError as error:
            return str(error)


def until(
    what: str,
    check: Callable[[], Any],
    seconds: float,
    explain: Callable[[], str] = lambda: "",
    pause: float = 0.5,
) -> Any:
    """Wait until `check` returns a true value and return it; raise NeverHappened with `explain()` otherwise.

    KubectlError, AssertionError and KeyError count as "not yet"; the message has the last of them.
    """
    seconds = max(seconds, PATIENCE)
    deadline = time.monotonic() + seconds
    last = ""
    while True:
        try:
            if found := check():
                return found
            last = ""
        except (KubectlError, AssertionError, KeyError) as error:
            last = f"\nlast error: {error!r}"
        if time.monotonic() > deadline:
            raise NeverHappened(f"not within {seconds:.0f} s: {what}{last}\n{explain()}")
        time.sleep(pause)


@dataclass(frozen=True)
class Event:
    """An event of a watch and the time when it was received (seconds since the epoch)."""

    at: float
    type: str
    object: Manifest


@dataclass
class Watch:
    """A watch in the background; use it as a context manager."""

    kubectl: Kubectl
    path: str
    """The list's path, as in "/api/v1/namespaces/x/pods"."""
    events: list[Event] = field(default_factory=list)

    def __enter__(self) -> Self:
        raw = f"{self.path}?watch=1&allowWatchBookmarks=false&timeoutSeconds=3600"
        self._process = subprocess.Popen(
            self.kubectl.command("get", "--raw", raw),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        return self

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            message = json.loads(line)
            self.events.append(Event(time.time(), message["type"], message["object"]))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._thread.join(10)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def first(self, check: Callable[[Event], bool]) -> float | None:
        """Return the time of the first event that `check` accepts."""
        return next((event.at for event in list(self.events) if check(event)), None)


def condition(manifest: Manifest | None, kind: str) -> Manifest:
    """Return a condition of an object's status, or an empty one."""
    conditions: Iterable[Manifest] = (manifest or {}).get("status", {}).get("conditions", [])
    return next((c for c in conditions if c["type"] == kind), {})


def is_ready(pod: Manifest) -> bool:
    """Return whether a pod is Ready and not being deleted."""
    return "deletionTimestamp" not in pod["metadata"] and condition(pod, "Ready").get("status") == "True"


def restarts(pods: Sequence[Manifest]) -> dict[str, tuple[str, dict[str, int]]]:
    """Return each pod's uid and the restart counts of its containers: equal values mean no restart."""
    return {
        pod["metadata"]["name"]: (
            pod["metadata"]["uid"],
            {c["name"]: c["restartCount"] for c in pod["status"].get("containerStatuses", [])},
        )
        for pod in pods
    }
