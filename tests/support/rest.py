"""Reads objects in this process: each kubectl takes a tenth of a second of CPU, and tests wait by reading."""

import asyncio
import http.client
import json
import threading
from functools import cache
from typing import Any
from urllib.parse import quote, urlsplit

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


class Reader:
    """GET requests with a kubeconfig's credentials, over one connection of each thread."""

    def __init__(self, config: str) -> None:
        self._access, self._token = asyncio.run(_access(config))
        self._own = threading.local()

    def get(self, location: str, *, selector: str = "") -> Manifest:
        """Read an object or a list. Raises Refused."""
        query = f"?labelSelector={quote(selector)}" if selector else ""
        for is_last in (False, True):
            is_new = getattr(self._own, "connection", None) is None
            try:
                status, body = self._request(location + query)
            except (OSError, http.client.HTTPException) as error:
                self._own.connection = None
                # The server may have closed a connection that was idle.
                if is_new or is_last:
                    raise Refused(0, f"GET {location}: {error!r}") from error
                continue
            if status != http.client.OK:
                raise Refused(status, f"GET {location}: {status}: {body.decode(errors='replace')[:500]}")
            return json.loads(body)
        raise AssertionError

    def _request(self, target: str) -> tuple[int, bytes]:
        connection = getattr(self._own, "connection", None)
        if connection is None:
            server = urlsplit(self._access.server)
            assert server.hostname is not None
            connection = http.client.HTTPSConnection(
                server.hostname, server.port, timeout=60, context=self._access.tls
            )
            self._own.connection = connection
        connection.request("GET", target, headers={"Authorization": self._token} if self._token else {})
        answer = connection.getresponse()
        return answer.status, answer.read()


@cache
def reader(config: str) -> Reader:
    """The reader of a kubeconfig, one for each process."""
    return Reader(config)


def objects(found: Manifest) -> list[Manifest]:
    """The objects of a list, with the kind that the API server states only once."""
    kind, version = str(found["kind"]).removesuffix("List"), found["apiVersion"]
    return [{"apiVersion": version, "kind": kind} | item for item in found["items"]]
