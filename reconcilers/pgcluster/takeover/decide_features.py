"""What of the spec stands against a takeover, and what will be different after it. Pure."""

import re
from collections.abc import Iterator

from pgoperator import labels, naming
from pgoperator.api.ignored import ignored_fields
from pgoperator.errors import InvalidSpec
from pgoperator.kube import kinds
from pgoperator.kube.manifest import Manifest, annotations_of, files_of, name_of
from reconcilers.pgcluster.takeover.plan import Blocker, Snapshot

COMPARED = ("3.1",)
"""API versions of Percona's operator whose objects were compared with this operator's."""
TOLERATED = {
    "spec.logcollector": "spec.logcollector has no effect: PostgreSQL logs to the container's output, and "
    "logs on the volume stay where they are",
}
"""Ignored fields without which the data is as safe as before -> the difference."""
REQUESTS = (labels.PGBACKREST_RESTORE, labels.PGBACKREST_BACKUP, labels.PERCONA + labels.TRIGGER_SWITCHOVER)


def blockers(snapshot: Snapshot) -> list[Blocker]:
    """What the user has to change first."""
    return [
        *_of_switches(snapshot.cluster["spec"]),
        *_of_version(snapshot.cluster["spec"]),
        *_of_ignored(snapshot.cluster),
        *_of_repetition(snapshot.cluster),
        *_of_certificates(snapshot),
        *_of_overrides(snapshot),
    ]


def differences(snapshot: Snapshot) -> list[str]:
    """What the user notices afterwards."""
    found = [TOLERATED[path] for path in _ignored(snapshot.cluster) if path in TOLERATED]
    if snapshot.all_of(kinds.PG_BACKUP):
        found.append("the deletion of a PerconaPGBackup will remove its data from the repository")
    if (snapshot.cluster["spec"].get("backups") or {}).get("enabled", True):
        found.append("a first full backup is taken; older backups may expire then, as the retention demands")
    return found


def _of_switches(spec: Manifest) -> Iterator[Blocker]:
    if spec.get("pause"):
        yield Blocker("spec.pause is true: no pod runs that could be examined", "set spec.pause to false")
    if spec.get("unmanaged"):
        yield Blocker(
            "spec.unmanaged is true: this operator does nothing for such a cluster",
            "stop Percona's operator, then remove spec.unmanaged",
        )


def _of_version(spec: Manifest) -> Iterator[Blocker]:
    version = str(spec.get("crVersion") or "")
    if ".".join(version.split(".")[:2]) not in COMPARED:
        yield Blocker(
            f"spec.crVersion is {version or 'not set'}: objects of that version were never compared with "
            f"this operator's ({', '.join(COMPARED)} were)",
            f"upgrade the cluster with Percona's operator to crVersion {COMPARED[-1]}, or copy its data",
        )


def _ignored(cluster: Manifest) -> list[str]:
    try:
        return ignored_fields(cluster)
    except InvalidSpec:
        return []  # the rehearsal reports it


def _of_ignored(cluster: Manifest) -> Iterator[Blocker]:
    for path in _ignored(cluster):
        if path not in TOLERATED:
            yield Blocker(f"{path} is set, and has no effect with this operator", f"remove {path} if you can")


def _of_repetition(cluster: Manifest) -> Iterator[Blocker]:
    """What Percona's operator has done and this operator would do again."""
    if cluster["spec"].get("databaseInitSQL"):
        yield Blocker(
            "spec.databaseInitSQL is set: this operator does not know that the SQL has run",
            "remove spec.databaseInitSQL from the resource",
        )
    annotations = annotations_of(cluster)
    for name in REQUESTS:
        bare = re.escape(name.removeprefix(labels.CRUNCHY).removeprefix(labels.PERCONA))
        prefixes = f"(?:{re.escape(labels.CRUNCHY)}|{re.escape(labels.PERCONA)})"
        for found in sorted(key for key in annotations if re.fullmatch(prefixes + bare, key)):
            yield Blocker(
                f"the annotation {found} asks for something that Percona's operator may have done",
                "remove the annotation when it is done",
            )


def _of_certificates(snapshot: Snapshot) -> Iterator[Blocker]:
    name = naming.cluster_ca(snapshot.name)
    if snapshot.cluster["spec"].get("tls", {}).get("certManagementPolicy") == "userProvidedOnly":
        return
    secret = snapshot.get(kinds.SECRET, name)
    keys = files_of(secret).keys() if secret is not None else set[str]()
    if not {"root.crt", "root.key"} <= keys:
        issuer = "cert-manager issued it" if "tls.crt" in keys else f"it has the keys {sorted(keys)}"
        cause = f"Secret {name} has no certificate authority under root.crt and root.key: {issuer}"
        if secret is None:
            cause = f"Secret {name} with the certificate authority does not exist"
        yield Blocker(cause, "copy the data into another cluster: another authority would cut off all pods")


def _of_overrides(snapshot: Snapshot) -> Iterator[Blocker]:
    for one in snapshot.all_of(kinds.CONFIG_MAP):
        if annotations_of(one).get(labels.OVERRIDE_CONFIG) == "true":
            title = f"ConfigMap {name_of(one)}"
            yield Blocker(
                f"{title} has the annotation {labels.OVERRIDE_CONFIG}: it would be overwritten",
                "move the settings into the PerconaPGCluster and remove the annotation",
            )
