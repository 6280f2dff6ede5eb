"""A restore to the end of the archive begins once the archive has everything, or with the user's word."""

import asyncio
import copy
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from pgoperator import labels, naming
from pgoperator.api.pgrestore import PGRestore
from pgoperator.errors import CommandFailed, InvalidSpec
from pgoperator.kube import kinds
from pgoperator.kube.errors import NotFound, Unreachable
from pgoperator.kube.manifest import Key, Manifest
from pgoperator.settings import Settings
from reconcilers.pgcluster.backups.decide_readiness import FOREIGN
from reconcilers.pgrestore import act_restore, build_job, decide_archive, decide_history
from reconcilers.pgrestore.controller import PGRestores
from tests.support.views import IMAGES, NAMESPACE, NOW, cluster_manifest, filled_store, view
from tests.unit.pgcluster.observed import bootstrapped, claim, instance_pod, leader, repo_host_pod
from tests.unit.pgrestore.test_check import stanza

PRIMARY = "cluster1-instance1-bcdf"
SYSTEM = int(bootstrapped()["metadata"]["annotations"]["initialize"])
OTHER = "cluster1-instance1-zzzz"
FAILURE = json.dumps({"since": "2026-01-02T03:00:00Z", "cause": "[049]: no answer"})
ACCEPTED = {labels.ACCEPT_WAL_LOSS: "true"}
OLD, NEW = "00000001000000000000000A", "00000001000000000000000B"


def request(*options: str, annotations: Manifest | None = None) -> Manifest:
    return {
        "apiVersion": "pgv2.percona.com/v2",
        "kind": "PerconaPGRestore",
        "metadata": {
            "name": "back",
            "namespace": NAMESPACE,
            "uid": "back",
            "resourceVersion": "1",
            "annotations": annotations or {},
            "finalizers": [labels.FINALIZER_RESTORE],
        },
        "spec": {"pgCluster": "cluster1", "repoName": "repo1", "options": list(options)},
    }


def data(instance: str) -> Manifest:
    """The claim of an instance's data volume."""
    own = labels.instance("cluster1", "instance1", instance) | {labels.ROLE: labels.ROLE_PGDATA}
    return claim(naming.instance_volume(instance), own)


def repository(status: str, reason: str) -> Manifest:
    """The condition that shows whether the repositories are the cluster's own."""
    return {
        "type": "PGBackRestReplicaRepoReady",
        "status": status,
        "reason": reason,
        "message": f"the repositories: {reason}",
        "lastTransitionTime": NOW.isoformat(),
    }


@dataclass
class Server:
    """An API server with one restore, a primary that switches segments, and a repository."""

    restore: Manifest
    archived: str = OLD
    serves: bool = True
    failure: Exception | None = None
    free: int | str = 1 << 40
    switches: int = 0
    now: datetime = NOW
    events: list[str] = field(default_factory=list)
    created: list[str] = field(default_factory=list)
    stanza: Manifest = field(default_factory=lambda: repository("True", "StanzaCreated"))
    claims: tuple[Manifest, ...] = ()
    """Volume claims as the API server has them; the store is behind, and has no marks."""
    jobs: tuple[Manifest, ...] = ()

    async def get(self, kind: Any, _namespace: str, name: str) -> Manifest:
        if kind == kinds.PG_RESTORE:
            return copy.deepcopy(self.restore)
        raise NotFound(404, "NotFound", "no", kind.kind, "", name)

    async def create(self, manifest: Manifest) -> None:
        self.created.append(manifest["kind"])

    async def merge_patch(self, *where: Any, subresource: str = "") -> None:
        patch = where[-1]
        if subresource == "status":
            self.restore.setdefault("status", {}).update(patch["status"])
        else:
            self.restore["metadata"].update(patch["metadata"])

    async def delete(self, kind: Any, _namespace: str, name: str, **_: Any) -> None:
        self.jobs = tuple(one for one in self.jobs if one["metadata"]["name"] != name)

    async def exec(self, _namespace: str, pod: str, _container: str, command: list[str], **_: Any) -> str:
        text = " ".join(command)
        if "info" in command:
            assert pod == "cluster1-repo-host-0"
            archive = {"database": {"id": 1, "repo-key": 1}, "id": "17-1", "min": "0", "max": self.archived}
            database = {"id": 1, "repo-key": 1, "system-id": SYSTEM, "version": "17"}
            return json.dumps([stanza(archive=[archive], db=[database])])
        assert pod == f"{PRIMARY}-0"
        if command[0] == "df":
            return f" Avail\n{self.free}\n"
        if self.failure is not None:
            raise self.failure
        if "pg_switch_wal" in text:
            self.switches += 1
            return "0/B001234|00000001000000000000000B|16777216\n"
        assert "archive_status" in text
        return "7\n"

    async def list(self, kind: Any, *_: Any, **__: Any) -> tuple[list[Manifest], str]:
        return [*(self.claims if kind == kinds.PVC else [])], "1"

    def reconcile(self, *, seconds: float = 0, stopped: bool = False) -> Manifest:
        """Let the time pass, then take steps until the restore waits; return the status."""
        self.now += timedelta(seconds=seconds)
        pod = instance_pod(PRIMARY, role="primary")
        pod["metadata"]["annotations"][labels.ARCHIVE_FAILURE] = FAILURE
        cluster = cluster_manifest()
        cluster["metadata"]["finalizers"] = [labels.FINALIZER]
        cluster["status"] = {"conditions": [self.stanza]}
        objects = [cluster, repo_host_pod(), *map(data, (PRIMARY, OTHER)), bootstrapped(), *self.jobs]
        objects += [] if stopped else [pod]
        objects += [leader(PRIMARY)] if self.serves and not stopped else []
        events = SimpleNamespace(event=lambda _, **event: self.events.append(event["message"]))
        ctx: Any = SimpleNamespace(
            client=self,
            store=filled_store(objects),
            events=events,
            clock=lambda: self.now,
            settings=Settings(images=IMAGES),
        )
        asyncio.run(PGRestores().reconcile(ctx, Key(kinds.PG_RESTORE.kind, NAMESPACE, "back")))
        status: Manifest = self.restore["status"]
        return status


def test_the_instances_stop_once_the_repository_has_the_newest_wal() -> None:
    server = Server(request())
    for _ in range(3):
        status = server.reconcile(seconds=5)
        assert (status["phase"], status["walLast"]) == ("Checking", NEW)
        assert "waiting until WAL segment 00000001000000000000000B is archived" in status["message"]
    assert server.switches == 1
    server.archived = NEW
    status = server.reconcile(seconds=5)
    assert (status["phase"], status["walLast"]) == ("Stopping", NEW)
    assert server.switches == 1


def test_a_restore_is_refused_while_wal_is_not_archived() -> None:
    server = Server(request())
    server.reconcile()
    status = server.reconcile(seconds=decide_archive.PATIENCE.total_seconds() + 1)
    assert (status["phase"], status["state"]) == ("Checking", "Failed")
    for part in ("7 files of WAL", f"up to segment {NEW}", f"repo1 has WAL up to segment {OLD}", "[049]"):
        assert part in status["error"]
    assert f'{labels.ACCEPT_WAL_LOSS}: "true"' in status["error"]


def test_no_restore_archives_into_the_repository_of_another_cluster() -> None:
    """The Job archives what the former data has; a clone may have the repository of its source."""
    foreign = repository("False", FOREIGN)
    server = Server(request("--type=immediate", annotations=ACCEPTED), archived=NEW, stanza=foreign)
    status = server.reconcile()
    assert (status["phase"], status["state"]) == ("Checking", "Failed")
    assert status["error"] == foreign["message"]
    unknown = repository("False", "StanzaNotCreated")
    assert "to be its own yet" in Server(request(), stanza=unknown).reconcile()["error"]
    # Such a restore archives nothing, or the user has accepted the loss.
    for one in (request("--type=immediate"), request(annotations=ACCEPTED)):
        assert Server(one, archived=NEW, stanza=unknown).reconcile()["phase"] == "Stopping"


@pytest.mark.parametrize("option", ["--db-include=app", "--db-exclude=app"])
def test_a_restore_in_place_of_some_databases_is_refused(option: str) -> None:
    """pgBackRest leaves all other databases as zeros."""
    status = Server(request("--type=immediate", option), archived=NEW).reconcile()
    assert (status["phase"], status["state"]) == ("Checking", "Failed")
    assert "all others are lost" in status["error"]


def test_a_dry_run_shows_the_plan_and_changes_nothing() -> None:
    server = Server(request("--dry-run"))
    status = server.reconcile()
    assert (status["phase"], status["state"]) == ("Checking", "Succeeded")
    assert status["plan"] == {
        "backupSet": "20261121-084753F",
        "timeline": 1,
        "target": f"the end of the archive, at present segment {OLD}",
        "bytes": 1,
        "instance": PRIMARY,
    }
    assert "dry run, nothing was changed" in status["message"]
    assert (server.switches, server.created) == (0, [])
    assert "instance" not in status
    assert server.reconcile() == status
    timed = ("--dry-run", "--type=time", "--target=2026-11-21T10:00:00+01:00")
    server = Server(request(*timed), now=datetime(2026, 11, 22, tzinfo=UTC))
    assert server.reconcile()["plan"]["target"] == "the last transaction up to 2026-11-21T09:00:00.000000Z"
    earlier = PGRestore.parse(server.restore)
    later = ["--type=time", "--target=2026-11-21 09:00:01+00"]
    decide_history.check("cluster1", later, [earlier])


@pytest.mark.parametrize(
    ("options", "change", "error"),
    [
        (("--traget=x",), {}, "is it --target?"),
        (("--type=immediate",), {"free": 0}, "enlarge the volume"),
        ((), {"serves": False}, "has no primary"),
        (("--type=immediate",), {"stanza": repository("False", FOREIGN)}, "RepositoryOfAnotherCluster"),
    ],
)
def test_a_dry_run_fails_as_the_restore_would(
    options: tuple[str, ...], change: dict[str, Any], error: str
) -> None:
    errors = []
    for more in ((), ("--dry-run",)):
        server = Server(request(*more, *options), **change)
        server.reconcile()
        status = server.reconcile(seconds=decide_archive.PRIMARY_PATIENCE.total_seconds() + 1)
        assert status["state"] == "Failed"
        errors.append(status["error"])
    assert errors[0] == errors[1]
    assert error in errors[0]


@pytest.mark.parametrize("off", ["--no-dry-run", "--dry-run=n"])
def test_a_restore_may_say_that_it_is_no_dry_run(off: str) -> None:
    server = Server(request("--type=immediate", off))
    assert server.reconcile()["phase"] == "Stopping"


def test_a_primary_that_does_not_answer_is_no_empty_archive() -> None:
    server = Server(request(), failure=CommandFailed("psql", 2, "the database system is starting up"))
    assert "waiting for the primary to end its WAL segment" in server.reconcile()["message"]
    status = server.reconcile(seconds=decide_archive.PRIMARY_PATIENCE.total_seconds() + 1)
    assert status["state"] == "Failed"
    assert "the database system is starting up" in status["error"]
    assert "an unknown number of files" in status["error"]
    # If the API server does not answer, that says nothing of the primary: the check is tried again.
    server = Server(request(), failure=Unreachable("no answer"))
    with pytest.raises(Unreachable):
        server.reconcile()
    assert server.restore["status"]["state"] == "Starting"


def test_without_a_primary_a_restore_needs_the_users_word() -> None:
    server = Server(request(), serves=False)
    assert server.reconcile()["message"] == "waiting for a primary, which archives the newest WAL"
    status = server.reconcile(seconds=decide_archive.PRIMARY_PATIENCE.total_seconds() + 1)
    assert status["state"] == "Failed"
    assert (
        f"has no primary that could archive its newest WAL: repo1 has WAL up to segment {OLD}"
        in status["error"]
    )
    server = Server(request(annotations=ACCEPTED), serves=False)
    accepted = server.reconcile()
    assert (accepted["phase"], accepted["walLast"]) == ("Stopping", OLD)
    assert f"as accepted, repo1 has WAL up to segment {OLD}" in server.events[-1]


@pytest.mark.parametrize("serves", [True, False])
@pytest.mark.parametrize(
    "options",
    [("--type=immediate",), ("--type=xid", "--target=4711"), ("--target-timeline=1",)],
)
def test_other_targets_do_not_need_the_end(options: tuple[str, ...], serves: bool) -> None:
    server = Server(request(*options), serves=serves, failure=AssertionError("no question is needed"))
    assert server.reconcile()["phase"] == "Stopping"


@pytest.mark.parametrize(
    ("report", "segment"),
    [
        ("0/B001234|00000001000000000000000B|16777216", "00000001000000000000000B"),
        # Nothing was written since the last switch: PostgreSQL 17 names the next segment, others the last.
        ("0/C000000|00000001000000000000000C|16777216", "00000001000000000000000B"),
        ("0/C000000|00000001000000000000000B|16777216", "00000001000000000000000B"),
        ("2/00000000|000000070000000200000000|16777216", "0000000700000001000000FF"),
        ("1/4000028|0000000A0000000100000001|67108864", "0000000A0000000100000001"),
    ],
)
def test_the_segment_that_ends_before_a_position(report: str, segment: str) -> None:
    assert decide_archive.segment(report) == segment


@pytest.mark.parametrize("report", ["", "0/1", "x|y|z", "0/1|000000010000000000000001|0"])
def test_an_answer_that_cannot_be_parsed(report: str) -> None:
    with pytest.raises(InvalidSpec, match="cannot be parsed"):
        decide_archive.segment(report)


@pytest.mark.parametrize(
    ("options", "annotations", "former"),
    [
        ((), {}, "required"),
        (("--type=default", "--delta"), {}, "required"),
        (("--target-timeline=latest",), {}, "required"),
        ((), ACCEPTED, "optional"),
        ((), {labels.ACCEPT_WAL_LOSS: "false"}, "required"),
        (("--type=immediate",), {}, None),
        (("--type=xid", "--target=4711"), {}, None),
        ((), {labels.BOOTSTRAP_RESTORE: "true"}, None),
    ],
)
def test_the_job_archives_what_the_former_data_has(
    options: tuple[str, ...], annotations: Manifest, former: str | None
) -> None:
    wanted = request(*options, annotations=annotations) | {"status": {"instance": PRIMARY}}
    if labels.BOOTSTRAP_RESTORE in annotations:
        wanted["metadata"]["name"] = naming.bootstrap_restore("cluster1")
    restore = PGRestore.parse(wanted)
    made = build_job.manifest(view(), restore, act_restore.job_arguments(restore))
    (container,) = made["spec"]["template"]["spec"]["containers"]
    found = {one["name"]: one["value"] for one in container["env"]}
    assert found.get("FORMER_WAL") == former
    # A new cluster whose source could not be asked: the Job asks for the end of the archive.
    assert found.get("FIND_END") == ("yes" if labels.BOOTSTRAP_RESTORE in annotations else None)
    known = PGRestore.parse(wanted | {"status": {"instance": PRIMARY, "walLast": "0" * 24}})
    (container,) = build_job.manifest(view(), known, [])["spec"]["template"]["spec"]["containers"]
    assert "FIND_END" not in {one["name"] for one in container["env"]}


@pytest.mark.parametrize(("failed", "again"), [(0, False), (1, False), (0, True)])
def test_only_a_job_that_never_ran_leaves_nothing_to_undo(failed: int, again: bool) -> None:
    wanted = request("--type=immediate", annotations={}) | {"status": {"instance": PRIMARY}}
    wanted["status"] |= {"state": "Running", "phase": "Restoring", "phaseSince": NOW.isoformat()}
    former = {"jobName": "former"} if again else {}
    restore = PGRestore.parse(wanted | {"status": wanted["status"] | former})
    job = build_job.manifest(view(), restore, [])
    job["metadata"] |= {"uid": "job", "creationTimestamp": NOW.isoformat()}
    job["status"] = {"failed": failed} if failed else {}
    wanted["status"]["jobName"] = job["metadata"]["name"]
    wanted["metadata"]["finalizers"] = [labels.FINALIZER_RESTORE]
    server = Server(wanted, jobs=(job,))
    server.reconcile(seconds=700, stopped=True)
    assert server.restore["status"]["phase"] == "Aborting"
    assert server.jobs == ()
    ended = server.reconcile(seconds=1, stopped=True)
    if failed or again:
        assert (ended["phase"], server.created) == ("Undoing", ["Job"])
    else:
        assert (ended["state"], server.created) == ("Failed", [])
        assert "the Job's pod does not start" in ended["error"]


def marked(instance: str, seconds: float) -> Manifest:
    """The same, marked so many seconds after NOW."""
    found = data(instance)
    found["metadata"]["annotations"] = {labels.PAUSED_PRIMARY: (NOW + timedelta(seconds=seconds)).isoformat()}
    return found


@pytest.mark.parametrize("last", [PRIMARY, OTHER])
@pytest.mark.parametrize("annotations", [{}, ACCEPTED])
def test_the_job_needs_the_data_of_the_last_primary(last: str, annotations: Manifest) -> None:
    """Another instance may have become the primary after the check."""
    server = Server(request(annotations=annotations), archived=NEW)
    if not annotations:
        server.reconcile()
    assert server.reconcile()["phase"] == "Stopping"
    first = PRIMARY if last == OTHER else OTHER
    server.claims = (marked(first, 1), marked(last, 2))
    status = server.reconcile(stopped=True)
    if last == PRIMARY or annotations:
        assert (status["phase"], server.created[-1]) == ("Restoring", "Job")
        return
    assert status["state"] == "Failed"
    assert f"{OTHER} became the primary while the instances were being stopped" in status["error"]
    assert "Job" not in server.created
