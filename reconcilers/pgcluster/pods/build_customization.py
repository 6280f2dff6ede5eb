"""The user's additions to the operator's pods: containers, volumes, claims and variables. Pure.

Additions are used as they are written. An addition that uses a name, path or variable of the operator is
refused with InvalidSpec before anything is applied.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from pgoperator import labels
from pgoperator.api.cluster import PGClusterSpec
from pgoperator.api.common import Environment, Sidecars
from pgoperator.digest import digest
from pgoperator.errors import InvalidSpec
from pgoperator.kube import kinds
from pgoperator.kube.manifest import Manifest
from pgoperator.settings import INSTANCE_SIDECARS, PGBACKREST_SIDECARS, PGBOUNCER_SIDECARS
from reconcilers.pgcluster.pods import build_pod, decide_privileges
from reconcilers.pgcluster.state.view import ClusterView, Reference, View

REASON = "NameReserved"

# The operator sets Patroni's and libpq's variables; the user may set those of pgBackRest that it does not
# set.
_RESERVED = re.compile("PATRONI_.*|PATRONICTL_.*|PG(?!BACKREST_).*")
# Names of the operator's own claims: of instances and of repositories.
_OUR_CLAIMS = re.compile("-(pgdata|pgwal|tablespace)$|-repo[1-4]$")


@dataclass(frozen=True, slots=True)
class Part:
    """The user's fields for one kind of pod, and their path in the custom resource."""

    path: str
    sidecars: Sidecars
    environment_path: str
    environment: Environment
    gate: str = ""
    """The feature gate of its containers."""
    init: Sequence[Manifest] = ()
    """Init containers."""


def of_instances(spec: PGClusterSpec) -> list[Part]:
    """A Part for each instance set, in the order of the spec."""
    return [
        Part(
            path := f"spec.instances[{i}]",
            instance_set,
            path,
            instance_set,
            gate=INSTANCE_SIDECARS,
            init=instance_set.init_containers,
        )
        for i, instance_set in enumerate(spec.instance_sets())
    ]


def of_pgbackrest(spec: PGClusterSpec) -> Part:
    """The variables of pgBackRest, for all pods in which it runs."""
    path = "spec.backups.pgbackrest"
    return Part(path, Sidecars(), path, spec.backups.pgbackrest)


def of_repo_host(spec: PGClusterSpec) -> Part:
    """The repository host, with the variables of pgBackRest."""
    part = of_pgbackrest(spec)
    sidecars = spec.backups.pgbackrest.repo_host
    return replace(part, path=f"{part.path}.repoHost", sidecars=sidecars, gate=PGBACKREST_SIDECARS)


def of_pooler(spec: PGClusterSpec) -> list[Part]:
    """The pooler, if the spec has one."""
    path = "spec.proxy.pgBouncer"
    pooler = spec.pg_bouncer
    return [Part(path, pooler, path, pooler, gate=PGBOUNCER_SIDECARS)] if pooler else []


def parts(spec: PGClusterSpec, *, backups_enabled: bool) -> list[Part]:
    """Every kind of pod that the cluster has."""
    return [*of_instances(spec), *([of_repo_host(spec)] if backups_enabled else []), *of_pooler(spec)]


def variables(part: Part, ours: Sequence[Manifest] = ()) -> Manifest:
    """`env` and `envFrom` of an operator's container.

    `ours` are the operator's variables, which win over those of Secrets in `envFrom`. Raises InvalidSpec when
    the user sets one of them, or a reserved variable.
    """
    taken = {variable["name"] for variable in ours}
    for variable in part.environment.env:
        if variable["name"] in taken or _RESERVED.fullmatch(variable["name"]):
            raise _refused(f"{part.environment_path}.env", "variable", variable["name"])
    own = {variable["name"]: variable for variable in part.environment.env}
    return {"env": [*ours, *own.values()], "envFrom": list(part.environment.env_from)}


def check_allowed(view: ClusterView, part: Part) -> None:
    """InvalidSpec when the operator's administrator does not allow the user's containers or volumes."""
    for field, additions in (("sidecars", part.sidecars.sidecars), ("initContainers", part.init)):
        if additions and not view.settings.features[part.gate]:
            raise InvalidSpec(
                f"{part.path}.{field} is not allowed: the operator's feature gate {part.gate} is off",
                reason="FeatureDisabled",
            )
    own = part.sidecars
    added = {"containers": own.sidecars, "initContainers": part.init, "volumes": own.sidecar_volumes}
    decide_privileges.check(added, view.settings)


def extend(view: ClusterView, pod: Manifest, part: Part) -> Manifest:
    """The spec of a pod with the user's containers and volumes.

    InvalidSpec when a name is in use, or when the operator's administrator allows no such addition.
    """
    check_allowed(view, part)
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
    for addition in theirs:
        if addition["name"] in {present["name"] for present in result}:
            raise _refused(path, what, addition["name"])
        result.append(addition)
    return result


def check_mounts(volumes: Iterable[Manifest], containers: Iterable[Manifest], path: str) -> None:
    """Raise InvalidSpec for a mount without a volume: Kubernetes would only report it in an event."""
    names = {volume["name"] for volume in volumes}
    for container in containers:
        for mount in container.get("volumeMounts") or []:
            if mount["name"] not in names:
                raise InvalidSpec(
                    f"{path}: container {container['name']!r} mounts the volume {mount['name']!r}, "
                    "which the pod does not have",
                    reason="VolumeUnknown",
                )


def mounted(ours: Sequence[Manifest], theirs: Iterable[Manifest], path: str) -> list[Manifest]:
    """Mounts of an operator's container with the user's; InvalidSpec when they overlap."""
    taken = [_folder(mount) for mount in ours]
    result = list(ours)
    for mount in theirs:
        own = _folder(mount)
        if own in map(_folder, result) or any(
            own.startswith(folder) or folder.startswith(own) for folder in taken
        ):
            raise _refused(path, "path", mount["mountPath"])
        result.append(mount)
    return result


def _folder(mount: Manifest) -> str:
    return str(mount["mountPath"]).rstrip("/") + "/"


def _refused(path: str, what: str, name: str) -> InvalidSpec:
    return InvalidSpec(f"{path}: the {what} {name!r} is reserved or already in use", reason=REASON)


def claims(view: ClusterView, part: Part) -> list[Manifest]:
    """The sidecars' volume claims; a claim that several kinds of pods share is returned for the first.

    Raises InvalidSpec for a name of the operator's claims, and for different specs of the same claim.
    """
    result = []
    for claim in part.sidecars.sidecar_pvcs:
        if claim.name.startswith(f"{view.name}-") and _OUR_CLAIMS.search(claim.name):
            raise _refused(f"{part.path}.sidecarPVCs", "claim", claim.name)
        users = [
            (other.path, shared.spec)
            for other in parts(view.cluster.spec, backups_enabled=view.backups_enabled)
            for shared in other.sidecars.sidecar_pvcs
            if shared.name == claim.name
        ]
        if any(spec != claim.spec for _, spec in users):
            where = " and ".join(f"{path}.sidecarPVCs" for path, _ in users)
            raise InvalidSpec(
                f"{where}: the specs of claim {claim.name!r} differ, but the claim is shared", reason=REASON
            )
        if users[0][0] != part.path:
            continue
        metadata = view.metadata(claim.name, {labels.ROLE: labels.ROLE_SIDECAR}, component="")
        result.append(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": metadata,
                "spec": build_pod.claim(claim.spec),
            }
        )
    return result


@dataclass(frozen=True, slots=True)
class Use:
    """A Secret or ConfigMap that variables refer to, and the path of the reference."""

    path: str
    reference: Reference
    optional: bool


def uses(part: Part) -> Iterator[Use]:
    """The references of the variables of a kind of pod, those of sidecars included."""
    own = {"env": part.environment.env, "envFrom": part.environment.env_from}
    yield from _uses(own, part.environment_path)
    for container in (*part.sidecars.sidecars, *part.init):
        yield from _uses(container, f"{part.path}, container {container['name']!r}")


def _uses(container: Any, path: str) -> Iterator[Use]:
    for source in container.get("envFrom") or ():
        for name, kind in (("secretRef", kinds.SECRET), ("configMapRef", kinds.CONFIG_MAP)):
            if selector := source.get(name):
                reference = Reference(kind.kind, selector.get("name", ""), "")
                yield Use(f"{path}.envFrom", reference, bool(selector.get("optional")))
    for variable in container.get("env") or ():
        value = variable.get("valueFrom") or {}
        for name, kind in (("secretKeyRef", kinds.SECRET), ("configMapKeyRef", kinds.CONFIG_MAP)):
            if selector := value.get(name):
                reference = Reference(kind.kind, selector.get("name", ""), selector["key"])
                yield Use(f"{path}.env", reference, bool(selector.get("optional")))


def annotations(view: View, *sections: Part) -> dict[str, str]:
    """The annotation with a digest of the Secrets and ConfigMaps of variables: a change restarts the pod.

    `sections` are all parts whose variables the pod has; empty without references. Raises InvalidSpec when an
    object is missing: the pod then stays unchanged.
    """
    digests = {}
    for use in chain.from_iterable(map(uses, sections)):
        content = view.referenced.get(use.reference)
        if content is None and not use.optional:
            raise InvalidSpec(
                f"{use.path}: {absent(use.reference, view.namespace)}", reason=f"{use.reference.kind}Missing"
            )
        digests["/".join(use.reference)] = content or ""
    if not digests:
        return {}
    text = json.dumps(digests, sort_keys=True)
    return {labels.REFERENCED: digest(text, 16)}


def absent(reference: Reference, namespace: str) -> str:
    """The message about a missing Secret, ConfigMap or key."""
    if reference.key:
        return f"{reference.kind} {reference.name!r} in namespace {namespace!r} has no key {reference.key!r}"
    return f"{reference.kind} {reference.name!r} does not exist in namespace {namespace!r}"
