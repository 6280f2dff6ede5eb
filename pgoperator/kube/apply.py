"""The one write path: apply what is desired and not so already, prune what is no longer desired."""

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
    uid_of,
    version_of,
)
from pgoperator.kube.store import Store

APPLIED_HASH = "pgv2.percona.com/applied-hash"
KEPT_KINDS = frozenset({"PersistentVolumeClaim", "Secret"})
AT_ONCE = 8  # writes of one rank under way
_UNAUTHORIZED = 401  # about us, not about the object
BEHIND = 30.0  # seconds after which a watch that has not shown our own write is no longer waited for

# An object may need what stands before its kind.
_ORDER = (
    *("Secret", "ServiceAccount", "PersistentVolumeClaim", "ConfigMap", "Role", "RoleBinding"),
    *("Service", "Endpoints", "PodDisruptionBudget"),
)
_RANK = {kind: rank for rank, kind in enumerate(_ORDER)}

log = structlog.get_logger(__name__)


class ForeignOwner(OperatorError):  # noqa: N818 - the name states the fact
    """The object belongs to another controller; the message names it."""


@dataclass(frozen=True, slots=True)
class Written:
    """The last write of an object by this process, as long as the store alone cannot tell its outcome."""

    hash: str  # of what was desired
    version: int  # resourceVersion of the answer
    kept: str | None  # digest of what the server made of it, None when it is just as desired
    at: float  # seconds of the monotonic clock


@dataclass(slots=True)
class Applied:
    """What came of applying many."""

    writes: int = 0
    refused: list[ApiError] = field(default_factory=list)


class Applier:
    """Writes desired manifests; an object that is as desired costs nothing."""

    def __init__(self, client: Client, store: Store, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: monotonic seconds."""
        self._client = client
        self._store = store
        self._clock = clock
        self._written: dict[Key, Written] = {}
        self._locks: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()

    async def apply(self, manifest: Manifest, owner: Manifest | None) -> bool:
        """Make the object be as `manifest` says, controlled by `owner`; True if that took a write.

        ForeignOwner when another controller has it; ApiError from the server. `manifest` is not changed.
        """
        desired = _complete(manifest, owner)
        key = key_of(desired)
        lock = self._locks.setdefault(key, asyncio.Lock())
        async with lock:
            stored = await self._read(key, desired)
            _refuse_foreign(stored, owner, key)
            if self._is_current(key, desired, stored):
                return False
            answer = await self._client.apply(desired)
            kept = None if covers(answer, desired) else digest(project(answer, desired))
            self._written[key] = Written(_hash_of(desired), version_of(answer), kept, self._clock())
            if stored is None or version_of(stored) != version_of(answer):
                log.info("applied", kind=key.kind, object=key.name, created=stored is None)
            return True

    async def apply_all(self, manifests: Sequence[Manifest], owner: Manifest | None) -> Applied:
        """Apply all, rank by rank: what is needed first goes first.

        What the server refuses keeps nothing else from being tried. Any other error ends it after its rank:
        it is the server's, or another's object that must not be built upon.
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
        """Delete what is owned and not desired; returns what was deleted. Never a PVC, never a Secret."""
        pruned = []
        for manifest in owned:
            key = key_of(manifest)
            if key in desired or key.kind in KEPT_KINDS or is_deleting(manifest):
                continue
            try:
                await self._client.delete(kind_of(manifest), key.namespace, key.name, uid=uid_of(manifest))
            except Conflict:
                continue  # another object has taken the name since: not the one to delete
            self._written.pop(key, None)
            log.info("pruned", kind=key.kind, object=key.name)
            pruned.append(key)
        return pruned

    async def _read(self, key: Key, desired: Manifest) -> Manifest | None:
        """Return the object from the store, or from the server when nobody watches its kind there."""
        kind = kind_of(desired)
        if self._store.seen(kind, key.namespace) is not None:
            return self._store.get(kind, key.namespace, key.name)
        try:
            return await self._client.get(kind, key.namespace, key.name)
        except NotFound:
            return None

    def _is_current(self, key: Key, desired: Manifest, stored: Manifest | None) -> bool:
        """Tell whether a write would change nothing."""
        written = self._written.get(key)
        wanted = _hash_of(desired)
        if written is not None and self._is_behind(key, desired, stored, written):
            return written.hash == wanted
        if stored is None:
            self._written.pop(key, None)
            return False
        if annotations_of(stored).get(APPLIED_HASH) != wanted:
            return False
        if covers(stored, desired):
            self._written.pop(key, None)
            return True
        # The server writes some values in its own way, or somebody insists on another: once is enough.
        return (
            written is not None
            and written.hash == wanted
            and written.kept == digest(project(stored, desired))
        )

    def _is_behind(self, key: Key, desired: Manifest, stored: Manifest | None, written: Written) -> bool:
        """Tell whether the store has not yet seen our own last write."""
        if stored is not None and version_of(stored) >= written.version:
            return False
        seen = self._store.seen(kind_of(desired), key.namespace)
        return seen is not None and seen < written.version and self._clock() - written.at < BEHIND


def _complete(manifest: Manifest, owner: Manifest | None) -> Manifest:
    """Return `manifest` with owner reference and hash; of Secrets `data` only, as the server stores them."""
    meta = dict(manifest["metadata"])
    complete = manifest | {"metadata": meta}
    if "stringData" in manifest:
        text: Mapping[str, str] = complete.pop("stringData")
        encoded = {name: b64encode(value.encode()).decode() for name, value in text.items()}
        complete["data"] = (manifest.get("data") or {}) | encoded
    if owner is not None:
        meta["ownerReferences"] = [
            {
                "apiVersion": owner["apiVersion"],
                "kind": owner["kind"],
                "name": owner["metadata"]["name"],
                "uid": owner["metadata"]["uid"],
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ]
    meta["annotations"] = dict(annotations_of(manifest)) | {APPLIED_HASH: digest(complete)}
    return complete


def _hash_of(desired: Manifest) -> str:
    return annotations_of(desired)[APPLIED_HASH]


def _refuse_foreign(stored: Manifest | None, owner: Manifest | None, key: Key) -> None:
    reference = controller_of(stored) if stored is not None else None
    if owner is None or reference is None or reference["uid"] == uid_of(owner):
        return
    former = ", a former one of this name" if reference["name"] == owner["metadata"]["name"] else ""
    raise ForeignOwner(
        f"{key} belongs to {reference['kind']} {reference['name']}{former}; "
        f"{owner['kind']} {owner['metadata']['name']} cannot use it"
    )


def _rank(manifest: Manifest) -> int:
    return _RANK.get(manifest["kind"], len(_RANK))
