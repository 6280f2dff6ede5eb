"""Reads and writes objects in this process: each kubectl takes a tenth of a second of CPU."""

import asyncio
import http.client
import json
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from pgoperator.kube.access import Access, from_kubeconfig

Manifest = dict[str, Any]

_NAMESPACED = {
    "/api/v1": "configmaps endpoints events persistentvolumeclaims pods secrets serviceaccounts services",
    "/apis/apps/v1": "deployments replicasets statefulsets",
    "/apis/batch/v1": "cronjobs jobs",
    "/apis/coordination.k8s.io/v1": "leases",
    "/apis/pgv2.percona.com/v2": "perconapgbackups perconapgclusters perconapgrestores perconapgupgrades",
    "/apis/policy/v1": "poddisruptionbudgets",
    "/apis/rbac.authorization.k8s.io/v1": "rolebindings roles",
}
_OF_THE_CLUSTER = {"/api/v1": "namespaces nodes persistentvolumes"}
_SHORT = {"pvc": "persistentvolumeclaims", "pv": "persistentvolumes", "cm": "configmaps"}


class Refused(Exception):  # noqa: N818 - the name states the fact
    """The API server refused a request, or did not answer; `status` is 0 without an answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def path(kind: str, namespace: str) -> str | None:
    """The path of the list of a kind, by its plural, singular or short name; None if it is not known here."""
    for plural in (_SHORT.get(kind, kind), f"{kind}s"):
        for prefix, plurals in _NAMESPACED.items():
            if plural in plurals.split():
                return f"{prefix}/namespaces/{namespace}/{plural}"
        for prefix, plurals in _OF_THE_CLUSTER.items():
            if plural in plurals.split():
                return f"{prefix}/{plural}"
    return None


async def _access(config: str) -> tuple[Access, str]:
    access = await from_kubeconfig(config)
    return access, await access.token(False)


class Client:
    """Requests with a kubeconfig's credentials, from any thread, over connections that stay open."""

    def __init__(self, config: str) -> None:
        self._access, self._token = asyncio.run(_access(config))
        self._idle: list[http.client.HTTPSConnection] = []

    def get(self, location: str, *, selector: str = "") -> Manifest:
        """Read an object or a list. Raises Refused."""
        return self._send("GET", location, {"labelSelector": selector} if selector else {})

    def apply(self, location: str, manifest: Manifest) -> None:
        """Apply an object like `kubectl apply --server-side`, with strict validation. Raises Refused."""
        how = {"fieldManager": "kubectl", "force": "true", "fieldValidation": "Strict"}
        self._send("PATCH", location, how, json.dumps(manifest), "application/apply-patch+yaml")

    def merge(self, location: str, patch: Manifest) -> None:
        """Merge a patch into an object. Raises Refused."""
        self._send(
            "PATCH",
            location,
            {"fieldManager": "kubectl-patch"},
            json.dumps(patch),
            "application/merge-patch+json",
        )

    def delete(self, location: str) -> None:
        """Delete an object and, later, what it owns. Raises Refused."""
        self._send("DELETE", location, {"propagationPolicy": "Background"})

    def _send(
        self, verb: str, location: str, query: Mapping[str, str], body: str | None = None, form: str = ""
    ) -> Manifest:
        target = location + (f"?{urlencode(query)}" if query else "")
        headers = {"Authorization": self._token} if self._token else {}
        headers |= {"Content-Type": form} if form else {}
        # There may be no idle connection, or the server may have closed it.
        with suppress(IndexError, OSError, http.client.HTTPException):
            return self._exchange(self._idle.pop(), verb, target, body, headers)
        server = urlsplit(self._access.server)
        assert server.hostname is not None
        connection = http.client.HTTPSConnection(
            server.hostname, server.port, timeout=60, context=self._access.tls
        )
        try:
            return self._exchange(connection, verb, target, body, headers)
        except (OSError, http.client.HTTPException) as error:
            raise Refused(0, f"{verb} {location}: {error!r}") from error

    def _exchange(
        self,
        connection: http.client.HTTPSConnection,
        verb: str,
        target: str,
        body: str | None,
        headers: Mapping[str, str],
    ) -> Manifest:
        try:
            connection.request(verb, target, body, dict(headers))
            response = connection.getresponse()
            answer = response.read()
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
        if not http.client.OK <= response.status < http.client.MULTIPLE_CHOICES:
            raise Refused(response.status, f"{verb} {target}: {response.status}: {_message(answer)}")
        found: Manifest = json.loads(answer)
        return found


def _message(answer: bytes) -> str:
    try:
        return str(json.loads(answer)["message"])
    except (ValueError, KeyError, TypeError):
        return answer.decode(errors="replace")[:2000]


def client(config: str) -> Client:
    """The client of a kubeconfig; the present one is used as long as the file does not change."""
    return _client(config, Path(config).stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _client(config: str, _written: int) -> Client:
    return Client(config)


def objects(found: Manifest) -> list[Manifest]:
    """The objects of a list, with the kind that the API server states only once."""
    kind, version = str(found["kind"]).removesuffix("List"), found["apiVersion"]
    return [{"apiVersion": version, "kind": kind} | item for item in found["items"]]
