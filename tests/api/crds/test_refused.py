"""A real API server rejects invalid objects with the field and the cause."""

from collections.abc import Awaitable
from typing import Any

import pytest

from pgoperator.api import Manifest
from tests.api.crds.conftest import Create, Merge, refused
from tests.unit.api.manifests import backup, claim, cluster, restore

pytestmark = pytest.mark.api


def with_instance(**fields: Any) -> Manifest:
    manifest = cluster()
    manifest["spec"]["instances"][0] |= fields
    return manifest


def without(*path: Any) -> Manifest:
    manifest = cluster()
    node = manifest
    for step in path[:-1]:
        node = node[step]
    del node[path[-1]]
    return manifest


VAULT = {"host": "https://v", "tokenSecret": {"name": "t", "key": "k"}}
LOGICAL = {"name": "analytics", "dataVolumeClaimSpec": claim()}

REFUSED = {
    "unknown field": (cluster(replicas=3), 'unknown field "spec.replicas"'),
    "unknown field in an embedded type": (
        with_instance(sidecars=[{"name": "a", "imagePullpolicy": "Always"}]),
        'unknown field "spec.instances[0].sidecars[0].imagePullpolicy"',
    ),
    "unknown field in a claim": (
        with_instance(dataVolumeClaimSpec={"limits": {"storage": "1Gi"}}),
        'unknown field "spec.instances[0].dataVolumeClaimSpec.limits"',
    ),
    "wrong type": (cluster(pause="yes"), "spec.pause"),
    "wrong type in an embedded type": (
        with_instance(tolerations=[{"tolerationSeconds": "1"}]),
        "tolerationSeconds",
    ),
    "amount": (with_instance(resources={"limits": {"memory": "1 GB"}}), "memory"),
    "affinity that lacks a field": (
        with_instance(affinity={"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{}]}}),
        "topologyKey",
    ),
    "no instances": (cluster(instances=[]), "spec.instances"),
    "instances missing": (without("spec", "instances"), "spec.instances"),
    "version missing": (without("spec", "postgresVersion"), "spec.postgresVersion"),
    "backups missing": (without("spec", "backups"), "spec.backups"),
    "claim missing": (without("spec", "instances", 0, "dataVolumeClaimSpec"), "dataVolumeClaimSpec"),
    "replicas 0": (with_instance(replicas=0), "spec.instances[0].replicas"),
    "two sets of one name": (
        cluster(instances=[{"name": "a", "dataVolumeClaimSpec": claim()}] * 2),
        "Duplicate value",
    ),
    "two sets without a name": (cluster(instances=[{"dataVolumeClaimSpec": claim()}] * 2), "Duplicate value"),
    "two users of one name": (cluster(users=[{"name": "a"}, {"name": "a"}]), "Duplicate value"),
    "one database twice": (cluster(users=[{"name": "a", "databases": ["x", "x"]}]), "Duplicate value"),
    "name of a set": (with_instance(name="Set_1"), "spec.instances[0].name"),
    "name of a user": (cluster(users=[{"name": "a b"}]), "spec.users[0].name"),
    "long name of a user": (cluster(users=[{"name": "x" * 64}]), "spec.users[0].name"),
    "options with a semicolon": (
        cluster(users=[{"name": "a", "options": "SUPERUSER;"}]),
        "spec.users[0].options",
    ),
    "long options": (cluster(users=[{"name": "a", "options": "x" * 201}]), "spec.users[0].options"),
    "kind of password": (
        cluster(users=[{"name": "a", "password": {"type": "x"}}]),
        "spec.users[0].password.type",
    ),
    "old version": (cluster(postgresVersion=11), "spec.postgresVersion"),
    "future version": (cluster(postgresVersion=19), "spec.postgresVersion"),
    "low port": (cluster(port=80), "spec.port"),
    "high port": (cluster(port=99999), "spec.port"),
    "high port of pgBouncer": (
        cluster(proxy={"pgBouncer": {"port": 65536}}),
        "spec.proxy.pgBouncer.port",
    ),
    "claim without resources": (
        with_instance(dataVolumeClaimSpec={"accessModes": ["ReadWriteOnce"]}),
        "set resources.requests.storage",
    ),
    "claim without a size": (
        with_instance(dataVolumeClaimSpec={"resources": {"requests": {}}}),
        "set resources.requests.storage",
    ),
    "kind of connection": (
        cluster(authentication={"rules": [{"connection": "hostsll", "method": "reject"}]}),
        "unknown kind of connection",
    ),
    "kind of Service": (cluster(expose={"type": "ExternalName"}), "spec.expose.type"),
    "pull policy": (cluster(imagePullPolicy="Sometimes"), "spec.imagePullPolicy"),
    "short lease": (cluster(patroni={"leaderLeaseDurationSeconds": 2}), "leaderLeaseDurationSeconds"),
    "name of a repository": (
        cluster(backups={"pgbackrest": {"repos": [{"name": "repo5"}]}}),
        "spec.backups.pgbackrest.repos[0].name",
    ),
    "proxy without a pooler": (cluster(proxy={}), "spec.proxy.pgBouncer"),
    "too many parameters": (
        cluster(config={"parameters": {f"p{i}": i for i in range(51)}}),
        "spec.config.parameters",
    ),
    # Rules of spec.
    "pg_tde before 16": (
        cluster(postgresVersion=15, extensions={"pg_tde": {"enabled": True, "vault": VAULT}}),
        "pg_tde needs postgresVersion 16",
    ),
    "public schema before 15": (
        cluster(postgresVersion=14, users=[{"name": "a", "grantPublicSchemaAccess": True}]),
        "grantPublicSchemaAccess needs postgresVersion 15",
    ),
    "logical replicas before 17": (
        cluster(postgresVersion=16, logicalReplicas=[LOGICAL]),
        "logicalReplicas need postgresVersion 17",
    ),
    "logical replicas without backups": (
        cluster(logicalReplicas=[LOGICAL], backups={"enabled": False, "pgbackrest": {}}),
        "bootstrapMethod pg_basebackup",
    ),
    "crVersion": (cluster(crVersion="latest"), "crVersion must be empty or a version"),
    # Rules of its parts.
    "backups without a repository": (
        cluster(backups={"pgbackrest": {"repos": []}}),
        "at least one repository",
    ),
    "backups on without a repository": (
        cluster(backups={"enabled": True, "pgbackrest": {}}),
        "at least one repository",
    ),
    "pg_tde without a vault": (cluster(extensions={"pg_tde": {"enabled": True}}), "pg_tde needs a vault"),
    "encrypted WAL without pg_tde": (
        cluster(extensions={"pg_tde": {"walEncryption": True, "vault": VAULT}}),
        "walEncryption needs pg_tde",
    ),
    # Rules of the other kinds.
    "backup to nowhere": (backup(repoName=None), "repoName must be set"),
    "backup of nothing": (backup(pgCluster=None), "spec.pgCluster"),
    "restore from nowhere": (restore(repoName=None), "repoName or volumeSnapshotBackupName must be set"),
    "restore from an empty name": (
        restore(repoName=None, volumeSnapshotBackupName=""),
        "repoName or volumeSnapshotBackupName must be set",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_cannot_be_is_refused(create: Create, case: str) -> None:
    manifest, word = REFUSED[case]
    await refused(create(manifest), word)


BANNED = {
    "config_file": "/tmp/a",
    "data_directory": "/tmp",
    "external_pid_file": "/tmp/a",
    "hba_file": "/tmp/a",
    "ident_file": "/tmp/a",
    "listen_addresses": "*",
    "port": 5433,
    "ssl": "off",
    "ssl_cert_file": "/tmp/a",
    "unix_socket_directories": "/tmp",
    "wal_level": "replica",
    "wal_log_hints": "off",
    "archive_mode": "off",
    "archive_command": "true",
    "restore_command": "true",
    "recovery_target": "immediate",
    "recovery_target_time": "2026-01-01",
    "hot_standby": "off",
    "synchronous_standby_names": "*",
    "primary_conninfo": "host=a",
    "primary_slot_name": "a",
    "recovery_min_apply_delay": "1h",
    "cluster_name": "a",
    "logging_collector": "off",
    "log_file_mode": "0644",
}


@pytest.mark.parametrize("parameter", BANNED)
async def test_a_parameter_of_the_operator_is_refused(create: Create, parameter: str) -> None:
    parameters = {"work_mem": "4MB", parameter: BANNED[parameter]}
    message = await refused(create(cluster(config={"parameters": parameters})), "spec.config.parameters")
    assert message.count("spec.config.parameters") == 1


async def test_other_parameters_are_accepted(create: Create) -> None:
    allowed = {
        "ssl_groups": "x25519",
        "ssl_ecdh_curve": "prime256v1",
        "wal_level": "logical",
        "max_connections": 200,
    }
    await create(cluster(config={"parameters": allowed}))


async def test_rules_allow_what_is_right(create: Create) -> None:
    await create(cluster(crVersion=""))
    await create(cluster(crVersion="3.1.0-rc.1"))
    await create(cluster(backups={"enabled": False}))
    await create(cluster(postgresVersion=14, users=[{"name": "a", "grantPublicSchemaAccess": False}]))
    await create(cluster(extensions={"pg_tde": {"enabled": True, "walEncryption": True, "vault": VAULT}}))
    off = {"enabled": False, "pgbackrest": {}}
    await create(cluster(logicalReplicas=[{**LOGICAL, "bootstrapMethod": "pg_basebackup"}], backups=off))
    await create(backup(repoName=None, method="volumeSnapshot"))
    await create(restore(repoName=None, volumeSnapshotBackupName="b"))


async def test_the_vault_stays_while_it_is_in_use(create: Create, merge: Merge) -> None:
    await create(cluster(extensions={"pg_tde": {"enabled": True, "vault": VAULT}}), dry=False)

    def change(tde: Any) -> Awaitable[Manifest]:
        return merge("perconapgclusters", "hippo", {"spec": {"extensions": {"pg_tde": tde}}})

    await refused(change({"enabled": False, "vault": None}), "pg_tde.vault can be removed")
    await change({"enabled": False})
    await change({"vault": None})


async def test_a_restore_keeps_what_it_restores(create: Create, merge: Merge) -> None:
    await create(restore(), dry=False)
    await create({**restore(volumeSnapshotBackupName="a"), "metadata": {"name": "snap"}}, dry=False)

    def change(name: str, **fields: Any) -> Awaitable[Manifest]:
        return merge("perconapgrestores", name, {"spec": fields})

    await refused(change("back", pgCluster="other"), "pgCluster cannot be changed")
    await refused(change("back", repoName="repo2"), "repoName cannot be changed")
    await refused(change("snap", volumeSnapshotBackupName="b"), "volumeSnapshotBackupName cannot be changed")
    await change("back", options=["--type=immediate"])
