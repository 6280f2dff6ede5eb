"""What the custom resource adds to our pods: containers, volumes, claims and variables of the user. Pure.

What is added stays as it is written. What takes a name, a path or a variable of ours is refused before
anything is applied: one of the two would not work, and nobody could tell which.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from pgoperator import labels
from pgoperator.api.cluster import PGClusterSpec
from pgoperator.api.common import Environment, Sidecars
from pgoperator.errors import InvalidSpec
from pgoperator.kube import kinds
from pgoperator.kube.manifest import Manifest
from reconcilers.pgcluster import pods
from reconcilers.pgcluster.view import Reference, View

REASON = "NameReserved"

# Patroni's and libpq's settings are the operator's; pgBackRest's are the user's where they are not given.
_RESERVED = re.compile("PATRONI_.*|PATRONICTL_.*|PG(?!BACKREST_).*")
# Claims that the operator makes itself: of instances and of repositories.
_OUR_CLAIMS = re.compile("-(pgdata|pgwal|tablespace)$|-repo[1-4]$")


@dataclass(frozen=True, slots=True)
class Part:
    """The fields of one kind of pod, and where they stand in the custom resource."""

    path: str
    sidecars: Sidecars
    environment_path: str
    environment: Environment
    init: Sequence[Manifest] = ()
    """Containers that run before ours."""


def of_instances(spec: PGClusterSpec) -> list[Part]:
    """The instance sets, in order."""
    return [
        Part(path := f"spec.instances[{position}]", one, path, one, one.init_containers)
        for position, one in enumerate(spec.instance_sets())
    ]


def of_pgbackrest(spec: PGClusterSpec) -> list[Part]:
    """The variables of pgBackRest, wherever it runs; none without backups."""
    path = "spec.backups.pgbackrest"
    return [Part(path, Sidecars(), path, spec.backups.pgbackrest)] if spec.backups.enabled else []


def of_repo_host(spec: PGClusterSpec) -> list[Part]:
    """The repository host, with the variables of pgBackRest; none without backups."""
    own = spec.backups.pgbackrest.repo_host
    return [replace(part, path=f"{part.path}.repoHost", sidecars=own) for part in of_pgbackrest(spec)]


def of_pooler(spec: PGClusterSpec) -> list[Part]:
    """The pooler, if there is one."""
    path = "spec.proxy.pgBouncer"
    return [Part(path, spec.pg_bouncer, path, spec.pg_bouncer)] if spec.pg_bouncer else []


def parts(spec: PGClusterSpec) -> list[Part]:
    """Every kind of pod that the cluster has."""
    return [*of_instances(spec), *of_repo_host(spec), *of_pooler(spec)]


def variables(part: Part, ours: Sequence[Manifest] = ()) -> Manifest:
    """`env` and `envFrom` of a container of ours; what is `ours` wins over what Secrets hold."""
    taken = {one["name"] for one in ours}
    for one in part.environment.env:
        if one["name"] in taken or _RESERVED.fullmatch(one["name"]):
            raise _refused(f"{part.environment_path}.env", "variable", one["name"])
    own = {one["name"]: one for one in part.environment.env}
    return {"env": [*ours, *own.values()], "envFrom": list(part.environment.env_from)}


def extend(pod: Manifest, part: Part) -> Manifest:
    """The spec of a pod with the user's containers and volumes."""
    claims = [
        {"name": claim.name, "persistentVolumeClaim": {"claimName": claim.name}}
        for claim in part.sidecars.sidecar_pvcs
    ]
    containers = _added(pod["containers"], part.sidecars.sidecars, f"{part.path}.sidecars", "container")
    before = _added(containers, part.init, f"{part.path}.initContainers", "container")[len(containers) :]
    volumes = _added(pod["volumes"], part.sidecars.sidecar_volumes, f"{part.path}.sidecarVolumes", "volume")
    volumes = _added(volumes, claims, f"{part.path}.sidecarPVCs", "volume")
    extended = pod | {"containers": containers, "volumes": volumes}
    check_mounts(volumes, [*containers, *before], part.path)
    return extended | ({"initContainers": before} if before else {})


def _added(ours: Sequence[Manifest], theirs: Iterable[Manifest], path: str, what: str) -> list[Manifest]:
    result = list(ours)
    for one in theirs:
        if one["name"] in {known["name"] for known in result}:
            raise _refused(path, what, one["name"])
        result.append(one)
    return result


def check_mounts(volumes: Iterable[Manifest], containers: Iterable[Manifest], path: str) -> None:
    """InvalidSpec for a mount without a volume: no pod could be made, and only an event would say so."""
    there = {volume["name"] for volume in volumes}
    for container in containers:
        for mount in container.get("volumeMounts") or []:
            if mount["name"] not in there:
                raise InvalidSpec(
                    f"{path}: container {container['name']!r} mounts the volume {mount['name']!r}, "
                    "which the pod does not have",
                    reason="VolumeUnknown",
                )


def mounted(ours: Sequence[Manifest], theirs: Iterable[Manifest], path: str) -> list[Manifest]:
    """Mounts of a container of ours with the user's, which keep out of our folders."""
    taken = [_folder(known) for known in ours]
    result = list(ours)
    for mount in theirs:
        own = _folder(mount)
        if own in map(_folder, result) or any(own.startswith(one) or one.startswith(own) for one in taken):
            raise _refused(path, "path", mount["mountPath"])
        result.append(mount)
    return result


def _folder(mount: Manifest) -> str:
    return str(mount["mountPath"]).rstrip("/") + "/"


def _refused(path: str, what: str, name: str) -> InvalidSpec:
    return InvalidSpec(f"{path}: the {what} {name!r} is in use already", reason=REASON)


def claims(view: View, part: Part) -> list[Manifest]:
    """The sidecars' volume claims; one that several kinds of pods share is given for the first of them."""
    result = []
    for claim in part.sidecars.sidecar_pvcs:
        if claim.name.startswith(f"{view.name}-") and _OUR_CLAIMS.search(claim.name):
            raise _refused(f"{part.path}.sidecarPVCs", "claim", claim.name)
        users = [
            (other.path, one.spec)
            for other in parts(view.cluster.spec)
            for one in other.sidecars.sidecar_pvcs
            if one.name == claim.name
        ]
        if any(spec != claim.spec for _, spec in users):
            where = " and ".join(f"{path}.sidecarPVCs" for path, _ in users)
            raise InvalidSpec(
                f"{where}: the claim {claim.name!r} is asked for in different ways", reason=REASON
            )
        if users[0][0] != part.path:
            continue
        metadata = view.metadata(claim.name, {labels.ROLE: labels.ROLE_SIDECAR}, component="")
        result.append(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": metadata,
                "spec": pods.claim(claim.spec),
            }
        )
    return result


@dataclass(frozen=True, slots=True)
class Use:
    """A Secret or ConfigMap that variables are taken from, and where that is asked for."""

    path: str
    reference: Reference
    optional: bool


def uses(part: Part) -> Iterator[Use]:
    """What the variables of a kind of pod refer to, the sidecars' included."""
    own = {"env": part.environment.env, "envFrom": part.environment.env_from}
    yield from _uses(own, part.environment_path)
    for container in (*part.sidecars.sidecars, *part.init):
        yield from _uses(container, f"{part.path}, container {container['name']!r}")


def _uses(container: Any, path: str) -> Iterator[Use]:
    for source in container.get("envFrom") or ():
        for name, kind in (("secretRef", kinds.SECRET), ("configMapRef", kinds.CONFIG_MAP)):
            if found := source.get(name):
                reference = Reference(kind.kind, found.get("name", ""), "")
                yield Use(f"{path}.envFrom", reference, bool(found.get("optional")))
    for variable in container.get("env") or ():
        value = variable.get("valueFrom") or {}
        for name, kind in (("secretKeyRef", kinds.SECRET), ("configMapKeyRef", kinds.CONFIG_MAP)):
            if found := value.get(name):
                reference = Reference(kind.kind, found.get("name", ""), found["key"])
                yield Use(f"{path}.env", reference, bool(found.get("optional")))


def annotations(view: View, *wanted: Part) -> dict[str, str]:
    """A digest of what variables come from, for the template of a pod: a change of it restarts the pod.

    `wanted` are all parts that the pod has variables of; without references there is none. While something is
    missing, the pod stays as it is.
    """
    digests = {}
    for use in chain.from_iterable(map(uses, wanted)):
        digest = view.referenced.get(use.reference)
        if digest is None and not use.optional:
            raise InvalidSpec(
                f"{use.path}: {absent(use.reference, view.namespace)}", reason=f"{use.reference.kind}Missing"
            )
        digests["/".join(use.reference)] = digest or ""
    if not digests:
        return {}
    text = json.dumps(digests, sort_keys=True)
    return {labels.REFERENCED: hashlib.sha256(text.encode()).hexdigest()[:16]}


def absent(reference: Reference, namespace: str) -> str:
    """What is missing, for a person."""
    if reference.key:
        return (
            f"{reference.kind} {reference.name!r} in namespace {namespace!r} lacks the key {reference.key!r}"
        )
    return f"there is no {reference.kind} {reference.name!r} in namespace {namespace!r}"
