"""What can be asked of the API server. Manifests in and out; field managers and force are decided here."""

from collections.abc import AsyncGenerator, Sequence
from copy import copy
from typing import Any

import orjson
import structlog

from pgoperator.kube import exec as remote
from pgoperator.kube import schema
from pgoperator.kube.access import Access
from pgoperator.kube.errors import NotFound, ServerError
from pgoperator.kube.kinds import kind_of
from pgoperator.kube.manifest import Kind, Manifest, key_of
from pgoperator.kube.transport import TIMEOUT, Request, Transport, parse

FIELD_MANAGER = "pgoperator"
STATUS_MANAGER = "pgoperator-status"
PAGE = 100  # objects in one answer: bounds the memory of a list, not its length

_METADATA = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1"
_APPLY = "application/apply-patch+yaml"  # JSON is YAML
_MERGE = "application/merge-patch+json"


log = structlog.get_logger(__name__)

Manifests = list[Manifest]  # a name of its own: in the class below, `list` is a method


class Client:
    """Every method raises ApiError (see `pgoperator.kube.errors`); times are in seconds."""

    def __init__(self, access: Access, *, timeout: float = TIMEOUT) -> None:
        """Make a client inside of the running loop; `timeout` is that of one attempt."""
        self.transport = Transport(access, timeout=timeout)

    def lane(self) -> "Client":
        """Return a client over the same session whose requests do not wait for those of this one."""
        client = copy(self)
        client.transport = self.transport.lane()
        return client

    async def close(self) -> None:
        """Close every connection."""
        await self.transport.close()

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest:
        """Return the object as it is now; NotFound when there is none."""
        return await self._send("GET", "GET", kind, namespace, name)

    async def list(
        self, kind: Kind, namespace: str | None, *, labels: str = "", fields: str = ""
    ) -> tuple[Manifests, str]:
        """Return all objects (`namespace` None = everywhere) and the resourceVersion they are from."""
        items: Manifests = []
        version = ""
        async for page, version in self.pages(kind, namespace, labels=labels, fields=fields):  # noqa: B007
            items += page
        return items, version

    async def pages(
        self, kind: Kind, namespace: str | None, *, labels: str = "", fields: str = ""
    ) -> AsyncGenerator[tuple[Manifests, str], None]:
        """Yield the list page by page, each with the list's resourceVersion. Gone when it took too long.

        A caller that takes the items out of the page has no more than one page in memory.
        """
        params = {"limit": str(PAGE)} | _selectors(labels, fields)
        while True:
            request = Request(
                "GET",
                kind.path(namespace),
                "LIST",
                params,
                target=(kind.kind, namespace or "", ""),
                accept=_accept(kind, "List"),
            )
            answer = await self.transport.json(request)
            page: Manifests = answer.pop("items") or []
            for item in page:
                item["apiVersion"], item["kind"] = kind.api_version, kind.kind
            yield page, answer["metadata"]["resourceVersion"]
            more = answer["metadata"].get("continue")
            if not more:
                return
            params["continue"] = more

    async def watch(
        self, kind: Kind, namespace: str | None, *, labels: str, version: str, seconds: int, silence: float
    ) -> AsyncGenerator[Manifest, None]:
        """Yield watch events `{type, object}` after `version`, bookmarks included, for at most `seconds`.

        Returns when the server ends the watch; Gone when `version` is too old; Unreachable after `silence`
        seconds without a word.
        """
        params = _selectors(labels, "") | {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(seconds),
        }
        request = Request(
            "GET",
            kind.path(namespace),
            "WATCH",
            params,
            target=(kind.kind, namespace or "", ""),
            accept=_accept(kind),
        )
        async for line in self.transport.lines(request, silence=silence):
            yield parse(line, request.target)

    async def apply(self, manifest: Manifest) -> Manifest:
        """Server-side apply: create, or take over exactly the fields in `manifest`. Returns the object."""
        params = {"fieldManager": FIELD_MANAGER, "force": "true"}
        return await self._patch(manifest, params, None)

    async def apply_status(self, manifest: Manifest) -> Manifest:
        """Server-side apply of `manifest["status"]`; needs apiVersion, kind, metadata.name and namespace.

        Fields that older definitions on the server do not declare are left out, and a warning names them: it
        is better to tell less than nothing.
        """
        params = {"fieldManager": STATUS_MANAGER, "force": "true"}
        meta = manifest["metadata"]
        body = {
            "apiVersion": manifest["apiVersion"],
            "kind": manifest["kind"],
            "metadata": {"name": meta["name"], "namespace": meta["namespace"]},
            "status": manifest["status"],
        }
        while True:
            try:
                return await self._patch(body, params, "status")
            except ServerError as error:
                shorter = body
                for path in (paths := schema.undeclared(str(error))):
                    shorter = schema.without(shorter, path)
                if shorter == body:
                    raise
                body = shorter
                log.warning("the custom resource definitions are older than the operator", left_out=paths)

    async def create(self, manifest: Manifest) -> Manifest:
        """Create the object; AlreadyExists when its name is taken. Repeated only if it never arrived."""
        kind, key = kind_of(manifest), key_of(manifest)
        request = Request(
            "POST",
            kind.path(key.namespace),
            "POST",
            {"fieldManager": FIELD_MANAGER},
            orjson.dumps(manifest),
            target=(key.kind, key.namespace, key.name),
            idempotent=False,
        )
        return dict(await self.transport.json(request))

    async def merge_patch(
        self, kind: Kind, namespace: str, name: str, patch: Manifest, *, subresource: str | None = None
    ) -> Manifest:
        """JSON merge patch; with metadata.resourceVersion in it, Conflict when the object has moved on."""
        return await self._send(
            "PATCH",
            "PATCH",
            kind,
            namespace,
            name,
            subresource=subresource,
            params={"fieldManager": FIELD_MANAGER},
            body=orjson.dumps(patch),
            content_type=_MERGE,
        )

    async def delete(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        grace_seconds: int | None = None,
        propagation: str = "Background",
    ) -> None:
        """Delete the object; success if there is none. Conflict when uid or version do not match."""
        wanted = {"uid": uid, "resourceVersion": resource_version}
        preconditions = {field: value for field, value in wanted.items() if value is not None}
        options: Manifest = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        if preconditions:
            options["preconditions"] = preconditions
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        try:
            await self._send("DELETE", "DELETE", kind, namespace, name, body=orjson.dumps(options))
        except NotFound:
            return

    async def exec(
        self,
        namespace: str,
        pod: str,
        container: str,
        command: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout: float = 30,  # noqa: ASYNC109 - the limit is part of the question
    ) -> str:
        """Return what `command` writes to standard output; CommandFailed when its status is not 0.

        Secrets go by `stdin` only: the command's words are in audit logs and in CommandFailed.
        """
        where = remote.Target(namespace, pod, container)
        return await remote.run(self.transport, where, command, stdin=stdin, limit=timeout)

    async def _patch(self, manifest: Manifest, params: dict[str, str], subresource: str | None) -> Manifest:
        key = key_of(manifest)
        return await self._send(
            "PATCH",
            "APPLY",
            kind_of(manifest),
            key.namespace,
            key.name,
            subresource=subresource,
            params=params,
            body=orjson.dumps(manifest),
            content_type=_APPLY,
        )

    async def _send(
        self,
        method: str,
        verb: str,
        kind: Kind,
        namespace: str,
        name: str,
        *,
        subresource: str | None = None,
        params: dict[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
    ) -> Manifest:
        request = Request(
            method,
            kind.path(namespace, name, subresource),
            verb,
            params or {},
            body,
            content_type,
            target=(kind.kind, namespace, name),
        )
        answer: dict[str, Any] = await self.transport.json(request)
        return answer


def _accept(kind: Kind, suffix: str = "") -> str:
    """Name the form in which the server shall answer."""
    return _METADATA.format(suffix) if kind.metadata_only else "application/json"


def _selectors(labels: str, fields: str) -> dict[str, str]:
    found = {"labelSelector": labels, "fieldSelector": fields}
    return {name: value for name, value in found.items() if value}
