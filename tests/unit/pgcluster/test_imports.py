"""Backups without an object: which objects are created, and an operator that dies at any write."""

import copy
import json
from types import SimpleNamespace
from typing import Any

import pytest

from pgoperator import labels, naming
from pgoperator.api.pgbackup import PGBackup
from pgoperator.errors import CommandFailed
from pgoperator.kube import kinds
from pgoperator.kube.errors import AlreadyExists
from pgoperator.kube.manifest import Key, Manifest, name_of
from pgoperator.postgres import pgbackrest_info
from pgoperator.settings import Settings
from reconcilers.pgbackup import act_deletion
from reconcilers.pgbackup.controller import PGBackups
from reconcilers.pgcluster.backups import inventory
from reconcilers.pgcluster.imports import act_import, decide_import
from reconcilers.pgcluster.state import repositories
from reconcilers.pgcluster.state.cache import ClusterCache
from reconcilers.pgcluster.state.view import View
from reconcilers.pgcluster.status import build_status
from reconcilers.pgcluster.status.conditions import PassResult
from tests.support.views import CLAIM, IMAGES, NAMESPACE, NOW, cluster_manifest, filled_store, view
from tests.unit.pgcluster import observed
from tests.unit.pgcluster.test_archive import backup
from tests.unit.postgres.test_pgbackrest_info import FULL, INCR, STANZA

REPOS = [{"name": name, "volume": {"volumeClaimSpec": CLAIM}} for name in ("repo1", "repo2")]
SYSTEM = STANZA["db"][0]["system-id"]
NAMES = [
    "cluster1-repo1-20261121-084407f",
    "cluster1-repo1-20261121-090000i",
    "cluster1-repo2-20261121-084407f",
]


class DiedError(Exception):
    """The operator has died."""


def content(*entries: dict[str, Any], repo: int = 1, system: int = SYSTEM) -> str:
    """What `pgbackrest info` prints for a repository."""
    own = [entry | {"database": {"id": 1, "repo-key": repo}} for entry in entries]
    found = 0 if own else 2
    stanza = STANZA | {
        "backup": own,
        "archive": [],
        "db": [{"id": 1, "repo-key": repo, "system-id": system, "version": "17"}],
        "repo": [{"cipher": "none", "key": repo, "status": {"code": found, "message": "?"}}],
        "status": {"code": found, "message": "?"},
    }
    return json.dumps([stanza])


class World:
    """An API server and two repositories; the operator dies at write number `dies`, before or after it."""

    def __init__(self, dies: int = -1, *, after: bool = False) -> None:
        self.repos = {1: content(INCR, FULL), 2: content(FULL, repo=2)}
        self.objects: dict[str, Manifest] = {}
        self.cache, self.backups = ClusterCache(), PGBackups()
        self.status: Manifest = {}
        self.writes, self.reads, self.made = 0, 0, 0
        self.dies, self.after = dies, after
        self.value = "monday"
        self.events: list[str] = []
        self.host = True

    def write(self, effect: Any) -> Any:
        self.writes += 1
        if self.writes == self.dies and not self.after:
            raise DiedError
        found = effect()
        if self.writes == self.dies:
            raise DiedError
        return found

    async def create(self, manifest: Manifest) -> Manifest:
        assert manifest["kind"] == "PerconaPGBackup", "neither a Job nor a Lease"
        if name_of(manifest) in self.objects:
            raise AlreadyExists(
                409, "AlreadyExists", "there", "PerconaPGBackup", NAMESPACE, name_of(manifest)
            )
        self.made += 1
        more = {"uid": f"uid-{self.made}", "creationTimestamp": NOW.isoformat()}
        made = copy.deepcopy(manifest | {"metadata": manifest["metadata"] | more})
        return self.write(lambda: self.objects.update({name_of(made): made}))

    async def delete(self, kind: Any, namespace: str, name: str, uid: str) -> None:
        assert self.objects[name]["metadata"]["uid"] == uid
        self.write(lambda: self.objects.pop(name))

    async def apply_status(self, manifest: Manifest) -> None:
        self.write(lambda: self.objects[name_of(manifest)].update(status=manifest["status"]))

    async def merge_patch(self, kind: Any, namespace: str, name: str, patch: Manifest) -> None:
        assert kind == kinds.PG_BACKUP
        metadata = {k: v for k, v in patch["metadata"].items() if k != "resourceVersion"}
        self.write(lambda: self.objects[name]["metadata"].update(metadata))

    async def exec(self, _namespace: str, pod: str, _container: str, command: list[str], **_: Any) -> str:
        assert pod == naming.pod(naming.repo_host("cluster1"))
        self.reads += 1
        number = int(next(word for word in command if word.startswith("--repo=")).removeprefix("--repo="))
        text = self.repos[number]
        if not text:
            raise CommandFailed("", 49, "", "ERROR: [049]: no answer")
        return text

    def view(self) -> View:
        stanza = {"name": "repo1", "stanzaCreated": True, "systemIdentifier": str(SYSTEM)}
        kept = self.status.get("pgbackrest", {})
        status = {
            "patroni": {"status": {"systemIdentifier": str(SYSTEM)}},
            "pgbackrest": {"repos": [stanza, stanza | {"name": "repo2"}]} | kept,
            "conditions": self.status.get("conditions", []),
        }
        plain = view(status=status, backups={"pgbackrest": {"repos": REPOS}})
        recorded = [
            one | {"repoOptionsHash": repositories.digest(plain)} for one in status["pgbackrest"]["repos"]
        ]
        status["pgbackrest"]["repos"] = recorded
        pods = [observed.repo_host_pod(ready=self.host)]
        seen = view(pods, status=status, backups={"pgbackrest": {"repos": REPOS}})
        asked = {labels.IMPORT_BACKUPS: self.value} if self.value else {}
        metadata = seen.manifest["metadata"] | {"annotations": asked, "finalizers": [labels.FINALIZER]}
        seen.manifest["metadata"] = metadata
        return seen

    def context(self) -> Any:
        objects = [*self.objects.values(), self.view().manifest, observed.repo_host_pod(ready=self.host)]
        return SimpleNamespace(
            client=self,
            store=filled_store(objects),
            clock=lambda: NOW,
            settings=Settings(images=IMAGES),
            events=SimpleNamespace(event=lambda _, **event: self.events.append(event["reason"])),
        )

    async def step(self) -> None:
        """One pass of the cluster, and one of each backup."""
        seen = self.view()
        await act_import.act(self.context(), seen, self.cache)
        result = PassResult(imported=self.cache.imports.finding)
        new = build_status.status(seen, result, self.cache, []).to_manifest()
        kept = {"importedBackups": new["pgbackrest"].get("importedBackups")}
        shown = [c for c in new["conditions"] if c["type"] == decide_import.CONDITION]
        if self.status != (
            wanted := {"pgbackrest": {k: v for k, v in kept.items() if v}, "conditions": shown}
        ):
            self.write(lambda: setattr(self, "status", wanted))
        for name in sorted(self.objects):
            await self.backups.reconcile(self.context(), Key("PerconaPGBackup", NAMESPACE, name))

    async def settle(self) -> None:
        """Reconcile until nothing is written; an operator that has died starts again."""
        for _ in range(10):
            before = self.writes
            try:
                await self.step()
            except DiedError:
                self.cache, self.backups = ClusterCache(), PGBackups()
                continue
            if self.writes == before:
                return
        raise AssertionError("it never settles")

    def shown(self) -> tuple[str, str, str]:
        [found] = self.status["conditions"]
        return found["status"], found["reason"], found["message"]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("dies", range(1, 13))
async def test_wherever_the_operator_dies_each_backup_has_one_object(dies: int, after: bool) -> None:
    world = World(dies, after=after)
    await world.settle()
    assert sorted(world.objects) == NAMES
    for manifest in world.objects.values():
        assert manifest["status"]["state"] == "Succeeded"
        assert "jobName" not in manifest["status"]
        assert labels.FINALIZER_BACKUP in manifest["metadata"]["finalizers"]
    assert world.status["pgbackrest"] == {"importedBackups": "monday"}
    assert world.shown()[:2] == ("True", "Imported")


async def test_the_status_is_that_of_a_normal_backup() -> None:
    world = World()
    await world.settle()
    found = PGBackup.parse(world.objects[NAMES[1]])
    assert (found.spec.pg_cluster, found.spec.repo_name, found.spec.options) == ("cluster1", "repo1", ())
    status = found.status
    assert (status.backup_name, status.backup_type, status.size) == (INCR["label"], "incr", 4041868)
    assert (status.storage_type, status.repo and status.repo.name) == ("filesystem", "repo1")
    assert status.completed is not None
    assert status.completed.timestamp() == INCR["timestamp"]["stop"]
    assert status.earliest_restorable_time == "2026-11-21 09:00:02.000000+0000"
    assert world.shown()[2] == "PerconaPGBackups were created for 3 backup(s)"
    assert set(world.events) == {"BackupImported"}
    # It counts as any other: the newest one gets the latest restorable time, and drills restore it.
    known = inventory.book(world.view(), list(world.objects.values()))
    assert (newest := known.newest("repo1")) is not None
    assert newest.name == NAMES[1]
    assert act_deletion.building_on(FULL["label"], [INCR["label"]]) == [INCR["label"]]


async def test_nothing_is_read_or_written_without_a_new_value() -> None:
    world = World()
    await world.settle()
    writes, reads = world.writes, world.reads
    del world.objects[NAMES[0]]
    for cache in (world.cache, ClusterCache()):
        world.cache = cache
        await world.settle()
    assert (world.writes, world.reads) == (writes, reads), "a deleted object stays deleted"
    assert world.shown()[:2] == ("True", "Imported"), "also after a restart of the operator"
    world.value = "tuesday"
    await world.settle()
    assert sorted(world.objects) == NAMES
    world.value = ""
    await world.settle()
    assert world.status["conditions"] == []


async def test_a_name_that_is_taken_stays_with_its_object() -> None:
    world = World()
    taken = backup(NAMES[0], backupName="20250101-000000F", size=1)
    taken |= {"apiVersion": kinds.PG_BACKUP.api_version, "kind": "PerconaPGBackup"}
    world.objects[NAMES[0]] = copy.deepcopy(taken)
    await world.settle()
    assert world.objects[NAMES[0]]["status"]["backupName"] == "20250101-000000F"
    assert world.objects[f"{NAMES[0]}-2"]["status"]["backupName"] == FULL["label"]


async def test_a_repository_that_cannot_be_read_is_not_empty() -> None:
    world = World()
    world.repos[2] = ""
    await world.step()
    assert world.objects == {}
    assert world.shown()[:2] == ("False", "RepoNotReachable")
    assert "[049]: no answer" in world.shown()[2]
    world.repos[2] = content(FULL, repo=2).replace('"code": 0', '"code": 99')
    await world.step()
    assert world.objects == {}, "pgBackRest ends with 0, and says 99 in its answer"
    world.repos[2] = content(repo=2)
    await world.settle()
    assert sorted(world.objects) == NAMES[:2]


async def test_an_import_waits_for_the_repository_host() -> None:
    world = World()
    world.host = False
    await world.settle()
    assert (world.reads, world.objects) == (0, {})
    assert world.shown()[:2] == ("False", "Waiting")
    world.host = True
    await world.settle()
    assert sorted(world.objects) == NAMES


async def test_backups_of_another_database_are_left_out() -> None:
    world = World()
    world.repos[2] = content(FULL, INCR, repo=2, system=7)
    await world.settle()
    assert sorted(world.objects) == NAMES[:2]
    assert world.shown()[2].endswith("; 2 of another database system in repo2 were left out")


async def test_an_object_whose_backup_is_gone_fails_and_another_import_replaces_it() -> None:
    world = World()
    await world.step()
    [failing] = [NAMES[0]]
    world.objects[failing]["status"] = {}
    world.repos[1] = content(INCR)
    await world.settle()
    assert world.objects[failing]["status"]["state"] == "Failed"
    assert world.objects[failing]["status"]["error"] == f"repo1 has no backup {FULL['label']}"
    world.repos[1], world.value = content(INCR, FULL), "tuesday"
    await world.settle()
    assert world.objects[failing]["status"]["state"] == "Succeeded"
    assert sorted(world.objects) == NAMES


@pytest.mark.parametrize("label", ["--delta", "20261121-084407F; rm", "", "../x"])
async def test_what_is_no_label_is_never_given_to_pgbackrest(label: str) -> None:
    world = World()
    world.value = ""
    mine = backup("mine", annotations={labels.IMPORTED_BACKUP: label}) | {"status": {}}
    mine |= {"apiVersion": kinds.PG_BACKUP.api_version, "kind": "PerconaPGBackup"}
    world.objects["mine"] = mine
    await world.settle()
    assert world.reads == 0
    assert "is not the label" in world.objects["mine"]["status"]["error"]


@pytest.mark.parametrize(
    ("entry", "one", "is_known"),
    [
        ({"percona.com/backup-uid": "uid-b"}, {"state": "Running"}, True),
        ({"percona.com/backup-uid": "other"}, {"state": "Running"}, False),
        ({"percona.com/backup-uid": "other", "percona.com/backup-name": "b"}, {"state": "Succeeded"}, False),
        ({"percona.com/backup-name": "b"}, {"state": "Succeeded"}, True),
        ({"percona.com/backup-name": "b"}, {"state": "Failed"}, False),
        ({}, {"state": "Succeeded", "backupName": FULL["label"]}, True),
        ({}, {"state": "Succeeded", "backupName": INCR["label"]}, False),
    ],
)
def test_the_object_of_a_backup_is_found(entry: dict[str, str], one: dict[str, Any], is_known: bool) -> None:
    """The status has no label while the Job ends, and with older versions of Percona's operator."""
    found = pgbackrest_info.parse(content(FULL | {"annotation": entry}))
    present = backup("b") | {"status": one}
    wanted = decide_import.imports(World().view(), {"repo1": found}, [present], SYSTEM).wanted
    assert (wanted == ()) is is_known


def test_an_object_of_another_cluster_or_repository_is_not_that_of_the_backup() -> None:
    found = pgbackrest_info.parse(content(FULL))
    present = backup("b", backupName=FULL["label"])
    for change in ({"pgCluster": "other"}, {"repoName": "repo2"}):
        other = present | {"spec": present["spec"] | change}
        assert decide_import.imports(World().view(), {"repo1": found}, [other], SYSTEM).wanted


def test_the_user_keeps_the_annotation_in_the_file_of_a_cluster() -> None:
    """A cluster that is created again has no status: what was handled before is imported once more."""
    world = World()
    assert decide_import.requested(world.view()) == "monday"
    world.status = {"pgbackrest": {"importedBackups": "monday"}}
    assert decide_import.requested(world.view()) == ""
    assert cluster_manifest()["metadata"].get("annotations") is None
