"""The write path: applies desired objects that differ and prunes owned objects that are not desired."""

import asyncio
import time
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from weakref import WeakValueDictionary

import structlog

from pgoperator.errors import OperatorError
from pgoperator.kube.client import Client
from pgoperator.kube.compare import covers, digest, project
from pgoperator.kube.errors import ApiError, Conflict, Forbidden, Invalid, NotFound
from pgoperator.kube.kinds import kind_of
from pgoperator.kube.manifest import (
    Key,
    Manifest,
    annotations_of,
    controller_of,
    is_deleting,
    key_of,
    labels_of,
    owner_reference,
    uid_of,
    version_of,
)
from pgoperator.kube.store import Store

APPLIED_HASH = "pgv2.percona.com/applied-hash"
KEPT_KINDS = frozenset({"PersistentVolumeClaim", "Secret"})
AT_ONCE = 8  # concurrent writes of one rank
_UNAUTHORIZED = 401  # concerns the operator's credentials, not the object
BEHIND = 30.0  # seconds to wait for the watch event of an own write

log = structlog.get_logger(__name__)


class ForeignOwner(OperatorError):  # noqa: N818 - the name states the fact
    """The object belongs to another controller, or to somebody else; the message names it."""


@dataclass(frozen=True, slots=True)
class Written:
    """The last write of an object by this process, kept until the store shows its result."""

    hash: str  # of the desired manifest
    version: int  # resourceVersion of the response
    kept: str | None  # digest of the fields as the server stored them, None when they equal the desired ones
    at: float  # monotonic seconds


@dataclass(slots=True)
class Applied:
    """Result of `apply_all`: number of writes, and the errors of objects that the server refused."""

    writes: int = 0
    refused: list[ApiError] = field(default_factory=list)


class Applier:
    """Writes desired manifests; an object in its desired state costs no request."""

    def __init__(self, client: Client, store: Store, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: monotonic seconds."""
        self._client = client
        self._store = store
        self._clock = clock
        self._written: dict[Key, Written] = {}
        self._locks: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()

    async def apply(self, manifest: Manifest, owner: Manifest | None) -> bool:
        """Apply `manifest` with `owner` as its controller; return True if that took a write.

        ForeignOwner when another controller owns the object; ApiError from the server. `manifest` stays
        unchanged.
        """
        desired = _complete(manifest, owner)
        key = key_of(desired)
        lock = self._locks.setdefault(key, asyncio.Lock())
        async with lock:
            stored = await self._read(key, desired)
            written = self._written.get(key)
            awaited = written is not None and self._is_behind(key, desired, stored, written)
            if stored is None and owner is not None and not awaited:
                # The watches select by a label: an object without it is not in the store.
                stored = await self._get(key, desired)
            _refuse_foreign(stored, owner, key)
            _refuse_unlabelled(stored, owner, desired, self._store.index_label)
            if self._is_current(key, desired, stored):
                return False
            result = await self._client.apply(desired)
            kept = None if covers(result, desired) else digest(project(result, desired))
            self._written[key] = Written(_hash_of(desired), version_of(result), kept, self._clock())
            if stored is None or version_of(stored) != version_of(result):
                log.info("applied", kind=key.kind, object=key.name, created=stored is None)
            return True

    async def apply_all(self, manifests: Sequence[Manifest], owner: Manifest | None) -> Applied:
        """Apply all manifests rank by rank, so that dependencies come first.

        An object that the server refuses (Invalid, Forbidden) does not stop the others. Any other error is
        raised after its rank: the server has failed, or the object belongs to another controller.
        """
        applied = Applied()
        slots = asyncio.Semaphore(AT_ONCE)

        async def one(manifest: Manifest) -> bool:
            async with slots:
                return await self.apply(manifest, owner)

        for _, group in groupby(sorted(manifests, key=_rank), key=_rank):
            outcomes = await asyncio.gather(*map(one, group), return_exceptions=True)
            for outcome in outcomes:
                if isinstance(outcome, (Invalid, Forbidden)) and outcome.status != _UNAUTHORIZED:
                    applied.refused.append(outcome)
                elif isinstance(outcome, BaseException):
                    raise outcome
                else:
                    applied.writes += outcome
        return applied

    async def prune(self, owned: Sequence[Manifest], desired: set[Key]) -> list[Key]:
        """Delete owned objects that are not desired, except PVCs and Secrets; return the deleted keys."""
        pruned = []
        for manifest in owned:
            key = key_of(manifest)
            if key in desired or key.kind in KEPT_KINDS or is_deleting(manifest):
                continue
            try:
                await self._client.delete(kind_of(manifest), key.namespace, key.name, uid=uid_of(manifest))
            except Conflict:
                continue  # a new object has the same name and must not be deleted
            self._written.pop(key, None)
            log.info("pruned", kind=key.kind, object=key.name)
            pruned.append(key)
        return pruned

    async def _read(self, key: Key, desired: Manifest) -> Manifest | None:
        """Return the object from the store, or from the server when its kind is not watched."""
        kind = kind_of(desired)
        if self._store.seen(kind, key.namespace) is not None:
            return self._store.get(kind, key.namespace, key.name)
        return await self._get(key, desired)

    async def _get(self, key: Key, desired: Manifest) -> Manifest | None:
        try:
            return await self._client.get(kind_of(desired), key.namespace, key.name)
        except NotFound:
            return None

    def _is_current(self, key: Key, desired: Manifest, stored: Manifest | None) -> bool:
        """Return whether a write would change nothing."""
        written = self._written.get(key)
        desired_hash = _hash_of(desired)
        if written is not None and self._is_behind(key, desired, stored, written):
            return written.hash == desired_hash
        if stored is None:
            self._written.pop(key, None)
            return False
        if annotations_of(stored).get(APPLIED_HASH) != desired_hash:
            return False
        if covers(stored, desired):
            self._written.pop(key, None)
            return True
        # The server normalizes some values, or another client overwrites them: do not apply the same values
        # again.
        return (
            written is not None
            and written.hash == desired_hash
            and written.kept == digest(project(stored, desired))
        )

    def _is_behind(self, key: Key, desired: Manifest, stored: Manifest | None, written: Written) -> bool:
        """Return whether the store does not yet contain the last own write."""
        if stored is not None and version_of(stored) >= written.version:
            return False
        seen = self._store.seen(kind_of(desired), key.namespace)
        return seen is not None and seen < written.version and self._clock() - written.at < BEHIND


def _complete(manifest: Manifest, owner: Manifest | None) -> Manifest:
    """Return `manifest` with owner reference and hash, and `stringData` converted to `data`."""
    meta = dict(manifest["metadata"])
    complete = manifest | {"metadata": meta}
    if "stringData" in manifest:
        text: Mapping[str, str] = complete.pop("stringData")
        encoded = {name: b64encode(value.encode()).decode() for name, value in text.items()}
        complete["data"] = (manifest.get("data") or {}) | encoded
    if owner is not None:
        meta["ownerReferences"] = [owner_reference(owner)]
    meta["annotations"] = dict(annotations_of(manifest)) | {APPLIED_HASH: digest(complete)}
    return complete


def _hash_of(desired: Manifest) -> str:
    return annotations_of(desired)[APPLIED_HASH]


def _refuse_foreign(stored: Manifest | None, owner: Manifest | None, key: Key) -> None:
    reference = controller_of(stored) if stored is not None else None
    if owner is None or reference is None or reference["uid"] == uid_of(owner):
        return
    former = " (a former object with this name)" if reference["name"] == owner["metadata"]["name"] else ""
    raise ForeignOwner(
        f"{key} is owned by {reference['kind']} {reference['name']}{former}; "
        f"{owner['kind']} {owner['metadata']['name']} cannot use it"
    )


def _refuse_unlabelled(
    stored: Manifest | None, owner: Manifest | None, desired: Manifest, label: str
) -> None:
    """Refuse an object of somebody else: it would be overwritten, and deleted with its new owner."""
    wanted = labels_of(desired).get(label)
    if stored is None or owner is None or wanted is None or controller_of(stored) is not None:
        return
    if labels_of(stored).get(label) != wanted:
        raise ForeignOwner(
            f"{key_of(desired)} exists and lacks the label {label}={wanted}: {owner['kind']} "
            f"{owner['metadata']['name']} does not take it over"
        )


def _rank(manifest: Manifest) -> int:
    return kind_of(manifest).rank
