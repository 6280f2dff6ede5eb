"""Requests to the API server with manifests in and out; sets the field managers and `force`."""

from collections.abc import AsyncGenerator, Sequence
from copy import copy

import orjson
import structlog

from pgoperator.kube import answers, schema
from pgoperator.kube import exec as remote
from pgoperator.kube.access import Access
from pgoperator.kube.errors import NotFound, ServerError
from pgoperator.kube.kinds import kind_of
from pgoperator.kube.manifest import Kind, Manifest, is_name, key_of
from pgoperator.kube.transport import TIMEOUT, Request, Transport, parse

FIELD_MANAGER = "pgoperator"
STATUS_MANAGER = "pgoperator-status"
PAGE = 100  # objects per response: limits the memory of a list, not its length

_METADATA = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1"
_APPLY = "application/apply-patch+yaml"  # JSON is YAML
_MERGE = "application/merge-patch+json"


log = structlog.get_logger(__name__)

Manifests = list[Manifest]  # an alias, because `list` is a method in the class below


class Client:
    """Every method raises ApiError (see `pgoperator.kube.errors`); times are in seconds."""

    def __init__(self, access: Access, *, timeout: float = TIMEOUT) -> None:
        """Create a client in the running event loop; `timeout`: seconds for one attempt."""
        self.transport = Transport(access, timeout=timeout)
        self._omitted: set[tuple[str, str]] = set()  # (kind, path) of a status field that was warned about
        self.dry: dict[str, str] = {}  # parameters of every write

    def lane(self) -> "Client":
        """Return a client with the same session whose requests do not wait for those of this client."""
        client = copy(self)
        client.transport = self.transport.lane()
        return client

    def rehearsal(self) -> "Client":
        """Return a client whose writes the API server checks and answers, but does not carry out."""
        client = copy(self)
        client.dry = {"dryRun": "All"}
        return client

    async def close(self) -> None:
        """Close every connection."""
        await self.transport.close()

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest:
        """Return the object; NotFound when it does not exist."""
        return await self._send("GET", "GET", kind, namespace, name)

    async def list(
        self, kind: Kind, namespace: str | None, *, labels: str = "", fields: str = ""
    ) -> tuple[Manifests, str]:
        """Return all objects (`namespace` None = all namespaces) and the resourceVersion of the list."""
        items: Manifests = []
        version = ""
        async for page, version in self.pages(kind, namespace, labels=labels, fields=fields):  # noqa: B007
            items += page
        return items, version

    async def pages(
        self, kind: Kind, namespace: str | None, *, labels: str = "", fields: str = ""
    ) -> AsyncGenerator[tuple[Manifests, str], None]:
        """Yield the list page by page, each with the list's resourceVersion; Gone when the list has expired.

        If the caller removes the items from each page, only one page is in memory.
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
            answer = answers.checked(await self.transport.json(request), request, answers.is_list)
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

        Return when the server ends the watch; Gone when `version` is too old; Silent after `silence` seconds
        without data.
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
            yield answers.checked(parse(line, request.target), request, answers.is_event)

    async def apply(self, manifest: Manifest, *, manager: str = FIELD_MANAGER) -> Manifest:
        """Server-side apply: create the object, or take ownership of the fields in `manifest`; return it."""
        params = {"fieldManager": manager, "force": "true"}
        return await self._patch(manifest, params, None)

    async def apply_status(self, manifest: Manifest) -> Manifest:
        """Server-side apply of `manifest["status"]`; needs apiVersion, kind, metadata.name and namespace.

        Fields that older definitions on the server do not declare are omitted with a warning: an incomplete
        status is better than none.
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
                found = {(manifest["kind"], schema.field_of(path)) for path in paths}
                if found - self._omitted:
                    self._omitted |= found
                    log.warning("custom resource definitions are older than the operator", omitted=paths)

    async def create(self, manifest: Manifest) -> Manifest:
        """Create the object; AlreadyExists when the name is in use. Retried only if no request was sent."""
        kind, key = kind_of(manifest), key_of(manifest)
        request = Request(
            "POST",
            kind.path(key.namespace),
            "POST",
            {"fieldManager": FIELD_MANAGER} | self.dry,
            orjson.dumps(manifest),
            target=(key.kind, key.namespace, key.name),
            idempotent=False,
        )
        return answers.checked(await self.transport.json(request), request, answers.is_object)

    async def merge_patch(
        self, kind: Kind, namespace: str, name: str, patch: Manifest, *, subresource: str | None = None
    ) -> Manifest:
        """Send a JSON merge patch; Conflict when its metadata.resourceVersion, if any, is outdated."""
        return await self._send(
            "PATCH",
            "PATCH",
            kind,
            namespace,
            name,
            subresource=subresource,
            params={"fieldManager": FIELD_MANAGER} | self.dry,
            body=orjson.dumps(patch),
            content_type=_MERGE,
        )

    async def delete(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        *,
        uid: str | None,
        resource_version: str | None = None,
        grace_seconds: int | None = None,
        propagation: str = "Background",
    ) -> None:
        """Delete the object, if it exists; Conflict when `uid` or `resource_version` do not match.

        A request without a response is repeated: with `uid` None, it can delete an object that was created
        with the same name since.
        """
        expected = {"uid": uid, "resourceVersion": resource_version}
        preconditions = {field: value for field, value in expected.items() if value is not None}
        options: Manifest = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        if preconditions:
            options["preconditions"] = preconditions
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        if self.dry:
            options["dryRun"] = ["All"]  # with a body, the API server ignores the parameter
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
        timeout: float = 30,  # noqa: ASYNC109 - the limit is part of the request
    ) -> str:
        """Return the standard output of `command`; CommandFailed when its exit status is not 0.

        `timeout`: seconds, then CommandTimedOut; the command can continue in the container. Pass secrets only
        through `stdin`: audit logs and CommandFailed contain the arguments. A command cannot be rehearsed.
        """
        if self.dry:
            raise RuntimeError("a rehearsal runs no commands")
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
            params=params | self.dry,
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
        if not is_name(name) or (kind.namespaced and not is_name(namespace)):
            # Names come from custom resources; the path of an empty name would be that of all objects.
            message = f"no object can have the name {name!r}"
            raise NotFound(404, "NotFound", message, kind.kind, namespace, name)
        request = Request(
            method,
            kind.path(namespace, name, subresource),
            verb,
            params or {},
            body,
            content_type,
            target=(kind.kind, namespace, name),
        )
        answer = await self.transport.json(request)
        form = answers.is_status if method == "DELETE" else answers.is_object
        return answers.checked(answer, request, form)


def _accept(kind: Kind, suffix: str = "") -> str:
    """Return the media type that the server should send."""
    return _METADATA.format(suffix) if kind.metadata_only else "application/json"


def _selectors(labels: str, fields: str) -> dict[str, str]:
    selectors = {"labelSelector": labels, "fieldSelector": fields}
    return {name: value for name, value in selectors.items() if value}
