"""Restore drills: when one is due, what its result makes of the status, and a pass that dies at any write."""

import json
from dataclasses import replace
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from pgoperator import labels, naming
from pgoperator.api.status import RestoreDrillStatus
from pgoperator.kube import kinds
from pgoperator.kube.errors import Forbidden, NotFound
from pgoperator.kube.manifest import Manifest
from pgoperator.runtime.result import Wait
from reconcilers.pgcluster.backups import inventory
from reconcilers.pgcluster.drill import act_drill, build_drill_job, decide_drill
from reconcilers.pgcluster.state.cache import ClusterCache, DrillCache
from reconcilers.pgcluster.state.view import Restoring, View
from tests.support.views import CLAIM, NOW, filled_store, view
from tests.unit.pgcluster.test_archive import backup

REPOS = [{"name": name, "volume": {"volumeClaimSpec": CLAIM}} for name in ("repo1", "repo2")]
LABEL = "20260102-030000F"
REPORT = {
    "systemIdentifier": "7",
    "timeline": 2,
    "moment": "2026-01-02 03:00:00.1+00",
    "bytes": 12345678,
    "restoreSeconds": 12.5,
    "checkSeconds": 3.5,
    "checked": "tables and B-tree indexes",
}


def asked(
    cron: str = "",
    now: str = "",
    known: RestoreDrillStatus | None = None,
    *,
    sql: str = "",
    pgbackrest: Any = None,
    **how: Any,
) -> View:
    """A cluster with these annotations, and with this status of drills."""
    text = {"pgbackrest": {"restoreDrill": known.to_manifest()}} if known else {}
    seen = view(
        status=text | {"patroni": {"status": {"systemIdentifier": "7"}}},
        backups={"pgbackrest": pgbackrest or {"repos": REPOS}},
        **how,
    )
    wanted = {labels.RESTORE_DRILL: cron, labels.RESTORE_DRILL_NOW: now, labels.RESTORE_DRILL_SQL: sql}
    annotations = {key: value for key, value in wanted.items() if value}
    manifest = seen.manifest | {"metadata": seen.manifest["metadata"] | {"annotations": annotations}}
    return replace(seen, manifest=manifest)


def known(seen: View, *repos: str) -> inventory.BackupInventory:
    """The backups of these repositories."""
    made = [backup(f"b{number}", backupName=f"{LABEL}{number}") for number, _ in enumerate(repos)]
    for one, repo in zip(made, repos, strict=True):
        one["spec"]["repoName"] = repo
    return inventory.book(seen, made)


def due(seen: View, *repos: str) -> decide_drill.Drill | None:
    present = decide_drill.status(seen)
    return decide_drill.due(seen, present, known(seen, *repos or ("repo1",))) if present else None


def handled(before: timedelta, **more: Any) -> RestoreDrillStatus:
    return RestoreDrillStatus(schedule="0 * * * *", handled=NOW - before, **more)


def test_without_an_annotation_there_is_nothing() -> None:
    seen = asked()
    assert decide_drill.status(seen) is None
    assert due(seen) is None
    assert decide_drill.conditions(seen, None) == []


def test_a_new_schedule_begins_now() -> None:
    seen = asked("0 * * * *")
    assert due(seen) is None
    present = decide_drill.status(seen)
    assert present is not None
    assert (present.handled, present.next_run) == (NOW, datetime.fromisoformat("2026-01-02T04:00:00Z"))
    assert decide_drill.conditions(seen, present) == []


def test_what_became_due_is_due_once() -> None:
    drill = due(asked("0 * * * *", known=handled(timedelta(hours=5))))
    assert drill is not None
    assert drill.backup == f"{LABEL}0"
    after = decide_drill.with_start(handled(timedelta(hours=5)), drill)
    assert due(asked("0 * * * *", known=after)) is None


def test_another_schedule_begins_anew() -> None:
    assert due(asked("30 * * * *", known=handled(timedelta(hours=5)))) is None


def test_a_clock_that_was_ahead_holds_nothing_back() -> None:
    ahead = handled(timedelta(days=-400))
    seen = asked("0 * * * *", known=ahead)
    present = decide_drill.status(seen)
    assert present is not None
    assert present.handled == NOW


def test_each_value_asks_for_one() -> None:
    drill = due(asked(now="monday"))
    assert drill is not None
    assert drill.requested == "monday"
    done = decide_drill.with_start(RestoreDrillStatus(), drill)
    assert due(asked(now="monday", known=done)) is None
    assert due(asked(now="tuesday", known=done)) is not None


@pytest.mark.parametrize(
    "change",
    [
        lambda v: replace(v, restoring=Restoring("r", "Restoring", "i")),
        lambda v: replace(v, backups_enabled=False),
        lambda v: replace(
            v,
            cluster=v.cluster.model_copy(update={"spec": v.cluster.spec.model_copy(update={"pause": True})}),
        ),
    ],
)
def test_none_starts_that_could_disturb(change: Any) -> None:
    seen = asked(now="monday")
    assert due(seen) is not None
    assert due(change(seen)) is None


def test_none_starts_without_a_backup() -> None:
    seen = asked(now="monday")
    present = decide_drill.status(seen)
    assert present is not None
    assert decide_drill.due(seen, present, inventory.NO_BACKUPS) is None


def test_repositories_take_turns() -> None:
    first = due(asked(now="1"), "repo1", "repo2")
    assert first is not None
    last = result(first.repo)
    second = due(asked(now="2", known=RestoreDrillStatus(drills=(last,))), "repo1", "repo2")
    assert second is not None
    assert second.repo != first.repo
    third = due(
        asked(now="3", known=RestoreDrillStatus(drills=(result(second.repo), last))), "repo1", "repo2"
    )
    assert third is not None
    assert third.repo == first.repo


def older(last: dict[str, Any] | None, backups: int = 3, **how: Any) -> decide_drill.Drill:
    """The drill that follows `last`, with backups that end an hour apart; the newest is LABEL0."""
    made = [
        backup(f"b{number}", backupName=f"{LABEL}{number}", at=NOW - timedelta(hours=number + 1))
        for number in range(backups)
    ]
    base = {"id": "x", "state": "Succeeded", "repo": "repo1", "startTime": NOW - timedelta(minutes=9)}
    results = [base | last] if last else []
    present = RestoreDrillStatus.model_validate(
        {"schedule": "0 * * * *", "handled": NOW - timedelta(hours=5), "drills": results}
    )
    seen = asked("0 * * * *", known=present, **how)
    status = decide_drill.status(seen)
    assert status is not None
    found = decide_drill.due(seen, status, inventory.book(seen, made))
    assert found is not None
    return found


def test_every_second_drill_of_the_schedule_takes_an_older_backup() -> None:
    first = older(None)
    assert (first.backup, first.type) == (f"{LABEL}0", "default")
    second = older({"backup": first.backup})
    assert second.backup in {f"{LABEL}1", f"{LABEL}2"}
    assert second.type == "immediate", "to its own end: the archive is proven by the newest one"
    assert older({"backup": first.backup}) == second, "an interrupted pass chooses the same"
    third = older({"backup": second.backup})
    assert (third.backup, third.type) == (first.backup, "default")


def test_the_newest_backup_is_what_matters_first() -> None:
    """After a failure, on demand, and as long as there is no other."""
    for last in ({"backup": f"{LABEL}0", "state": "Failed"}, {"backup": f"{LABEL}2", "state": "Failed"}):
        assert older(last).backup == f"{LABEL}0"
    assert older({"backup": f"{LABEL}0"}, now="monday").backup == f"{LABEL}0"
    assert older({"backup": f"{LABEL}0"}, backups=1).backup == f"{LABEL}0"


def test_the_newest_backup_of_then_counts() -> None:
    """A backup was taken since: the drill of the one before was one of the newest."""
    ago = NOW - timedelta(hours=1, minutes=30)
    assert older({"backup": f"{LABEL}1", "startTime": ago}).type == "immediate"


def test_the_choice_is_spread_over_all() -> None:
    chosen = set()
    for hour in range(20):
        at = NOW + timedelta(hours=hour)
        made = [backup(f"b{n}", backupName=f"{LABEL}{n}", at=NOW - timedelta(hours=n + 1)) for n in range(4)]
        last = {"id": "x", "state": "Succeeded", "repo": "repo1", "backup": f"{LABEL}0", "startTime": NOW}
        known = RestoreDrillStatus.model_validate(
            {"schedule": "0 * * * *", "handled": at - timedelta(hours=2), "drills": [last]}
        )
        seen = replace(asked("0 * * * *", known=known), now=at)
        status = decide_drill.status(seen)
        assert status is not None
        drill = decide_drill.due(seen, status, inventory.book(seen, made))
        assert drill is not None
        chosen.add(drill.backup)
    assert chosen == {f"{LABEL}{n}" for n in (1, 2, 3)}


def result(repo: str) -> Any:
    [one] = RestoreDrillStatus.model_validate(
        {"drills": [{"id": "x", "state": "Succeeded", "repo": repo, "backup": LABEL}]}
    ).drills
    return one


@pytest.mark.parametrize("cron", ["61 * * * *", "nonsense", "@every 5m"])
def test_a_bad_schedule_is_named_and_starts_none(cron: str) -> None:
    seen = asked(cron)
    assert due(seen) is None
    [found] = decide_drill.conditions(seen, decide_drill.status(seen))
    assert found[1:3] == (False, "InvalidSchedule")
    assert repr(cron) in found.message


def test_the_job_touches_no_volume_of_the_cluster() -> None:
    seen = asked(now="monday")
    drill = due(seen)
    assert drill is not None
    job = build_drill_job.manifest(seen, drill)
    spec = job["spec"]["template"]["spec"]
    scratch, *others = spec["volumes"]
    assert scratch["ephemeral"]["volumeClaimTemplate"]["spec"]["resources"]["requests"] == {"storage": "1Gi"}
    assert all("persistentVolumeClaim" not in volume for volume in others)
    assert spec["automountServiceAccountToken"] is False
    selecting = {labels.DATA, labels.ROLE, labels.INSTANCE, labels.PATRONI}
    assert not selecting & job["spec"]["template"]["metadata"]["labels"].keys()
    [container] = spec["initContainers"]
    assert {"name": "SYSTEM_IDENTIFIER", "value": "7"} in container["env"]
    assert f"--set={LABEL}0" in container["command"]
    assert "--type=default" in container["command"]
    assert "--tablespace-map-all=/pgdata/tablespaces" in container["command"]


def test_what_runs_sql_cannot_reach_the_repository() -> None:
    """Neither its configuration, which has the keys, nor the user's variables, which may have them."""
    key = {"name": "PGBACKREST_REPO1_S3_KEY_SECRET", "value": "secret"}
    pgbackrest = {"repos": REPOS, "env": [key], "envFrom": [{"secretRef": {"name": "keys"}}]}
    seen = asked(now="monday", sql="proof", pgbackrest=pgbackrest)
    drill = due(seen)
    assert drill is not None
    spec = build_drill_job.manifest(seen, drill)["spec"]["template"]["spec"]
    [first], [second] = spec["initContainers"], spec["containers"]
    assert key in first["env"]
    assert first["envFrom"]
    assert not second.get("envFrom")
    assert {one["name"] for one in second["env"]} == {"PGDATA", "PGVERSION", "DRILL_SQL"}
    mounted = {one["name"]: one["mountPath"] for one in second["volumeMounts"]}
    assert set(mounted) == {"scratch", "check-tmp", "drill-sql", "dshm", "scripts"}
    assert {"name": "drill-sql", "configMap": {"name": "proof"}} in spec["volumes"]
    assert spec["automountServiceAccountToken"] is False
    assert "drill-sql" not in {one["name"] for one in first["volumeMounts"]}


def test_the_scratch_volume_has_room_for_tablespaces() -> None:
    two_gib = CLAIM | {"resources": {"requests": {"storage": "2Gi"}}}
    tablespaces = [{"name": name, "dataVolumeClaimSpec": two_gib} for name in ("a", "b")]
    one = {"name": "instance1", "replicas": 1, "dataVolumeClaimSpec": CLAIM, "tablespaceVolumes": tablespaces}
    seen = asked(now="monday", instances=[one])
    drill = due(seen)
    assert drill is not None
    job = build_drill_job.manifest(seen, drill)
    scratch = job["spec"]["template"]["spec"]["volumes"][0]
    spec = scratch["ephemeral"]["volumeClaimTemplate"]["spec"]
    assert spec["resources"]["requests"] == {"storage": str(5 * 1024**3)}
    assert spec["accessModes"] == CLAIM["accessModes"]


def test_rules_that_keep_instances_apart_do_not_hold_for_the_job() -> None:
    """With an instance on each node, no node would be left."""
    term = {
        "topologyKey": "kubernetes.io/hostname",
        "labelSelector": {"matchLabels": {labels.CLUSTER: "cluster1"}},
    }
    apart = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    taint = {"key": "databases", "operator": "Exists"}
    instance = {"name": "instance1", "replicas": 1, "dataVolumeClaimSpec": CLAIM}
    instance |= {"affinity": apart, "tolerations": [taint], "securityContext": {"runAsUser": 7}}
    seen = asked(now="monday", instances=[instance])
    drill = due(seen)
    assert drill is not None
    spec = build_drill_job.manifest(seen, drill)["spec"]["template"]["spec"]
    assert "affinity" not in spec
    assert spec["tolerations"] == [taint]
    assert spec["securityContext"] == {"runAsUser": 7}


def ended(job: Manifest, *, report: str = "", message: str = "") -> list[Manifest]:
    """The Job and its pod after the end."""
    good = bool(report)
    condition = {"type": "Complete" if good else "Failed", "status": "True", "message": "", "reason": "x"}
    status = {"exitCode": 0 if good else 1, "message": report or message, "finishedAt": NOW.isoformat()}
    name = build_drill_job.CONTAINER
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "p",
            "namespace": "ns1",
            "uid": "pod-uid",
            "creationTimestamp": NOW.isoformat(),
            "labels": {labels.CLUSTER: "cluster1", labels.JOB: job["metadata"]["name"]},
            "ownerReferences": [{"kind": "Job", "uid": job["metadata"]["uid"], "controller": True}],
        },
        "status": {
            "phase": "Succeeded" if good else "Failed",
            "containerStatuses": [{"name": name, "state": {"terminated": status}}],
        },
    }
    return [job | {"status": {"conditions": [condition]}}, pod]


class Cluster:
    """An API server for one cluster: passes are made one by one, and any of its writes can be the last."""

    def __init__(self, cron: str = "", now: str = "") -> None:
        self.cron, self.now = cron, now
        self.objects: list[Manifest] = []
        self.known: RestoreDrillStatus | None = None
        self.cache = ClusterCache()
        self.created = 0
        self.refusal: Exception | None = None
        self.sql = ""
        self.config_map: Manifest | None = None

    async def get(self, kind: Any, namespace: str, name: str) -> Manifest:
        if self.config_map is None:
            raise NotFound(404, "NotFound", "no", kind.kind, namespace, name)
        return self.config_map

    async def create(self, manifest: Manifest) -> None:
        if self.refusal:
            raise self.refusal
        self.created += 1
        more = {"uid": f"uid-{self.created}", "creationTimestamp": NOW.isoformat()}
        self.objects.append(manifest | {"metadata": manifest["metadata"] | more})

    async def delete(self, kind: Any, namespace: str, name: str, uid: str) -> None:
        assert (kind, name) == (kinds.JOB, naming.restore_drill("cluster1"))
        assert self.objects[0]["metadata"]["uid"] == uid
        self.objects = []

    async def one_pass(self, *, report: bool = True, others: tuple[ClusterCache, ...] = ()) -> list[Wait]:
        """`report`: whether the status is written, or the operator dies before."""
        seen = asked(self.cron, self.now, self.known, sql=self.sql)
        ctx: Any = SimpleNamespace(client=self, store=filled_store(self.objects))
        present = act_drill.status(ctx, seen)
        if report:
            self.known = present
            seen = asked(self.cron, self.now, self.known, sql=self.sql)
        return await act_drill.act(ctx, seen, present, known(seen, "repo1"), self.cache, others)

    def finding(self) -> tuple[bool, str, str] | None:
        seen = asked(self.cron, self.now, self.known, sql=self.sql)
        found = decide_drill.conditions(seen, decide_drill.status(seen), self.cache.drill.blocked)
        return found[0][1:] if found else None

    def shown(self) -> tuple[bool, str, str]:
        found = self.finding()
        assert found is not None
        return found


@pytest.mark.parametrize("lost", range(5))
async def test_one_request_is_one_drill_wherever_the_operator_dies(lost: int) -> None:
    """In pass `lost` the status is not written."""
    cluster = Cluster(now="monday")
    for number in range(4):
        await cluster.one_pass(report=number != lost)
    assert cluster.created == 1
    assert cluster.finding() is None
    cluster.objects = ended(cluster.objects[0], report=json.dumps(REPORT))
    for number in range(4):
        await cluster.one_pass(report=number != lost)
    assert cluster.objects == []
    assert cluster.created == 1
    assert cluster.known is not None
    [drill] = cluster.known.drills
    assert (drill.state, drill.backup, drill.timeline, drill.bytes) == ("Succeeded", f"{LABEL}0", 2, 12345678)
    assert cluster.known.last_proven_restore == NOW
    status, reason, message = cluster.shown()
    assert (status, reason) == (True, "DrillSucceeded")
    assert message == (
        f"backup {LABEL}0 in repo1 was restored at 2026-01-02T03:04:05Z to 2026-01-02 03:00:00.1+00, "
        "in 12.5 s; tables and B-tree indexes were checked"
    )


async def test_a_restore_that_fails_in_the_first_container_is_shown_with_its_cause() -> None:
    cluster = Cluster(now="monday")
    await cluster.one_pass()
    job, pod = ended(cluster.objects[0], message="a WAL segment is missing")
    [failed] = pod["status"].pop("containerStatuses")
    pod["status"]["initContainerStatuses"] = [failed | {"name": build_drill_job.RESTORE}]
    cluster.objects = [job, pod]
    await cluster.one_pass()
    assert cluster.shown()[:2] == (False, "DrillFailed")
    assert "a WAL segment is missing" in cluster.shown()[2]


@pytest.mark.parametrize(
    ("name", "found", "cause"),
    [
        (
            "proof",
            None,
            "ConfigMap proof of the annotation pgv2.percona.com/restore-drill-sql does not exist",
        ),
        ("proof", {}, "is empty"),
        ("../secrets/keys", {"data": {"app": "SELECT true"}}, "has no valid name"),
        ("proof", {"data": {"app": "SELECT true"}}, ""),
    ],
)
async def test_a_drill_waits_for_its_sql(name: str, found: Manifest | None, cause: str) -> None:
    cluster = Cluster(now="monday")
    cluster.sql, cluster.config_map = name, found
    for _ in range(2):
        await cluster.one_pass()
    assert cluster.created == (0 if cause else 1)
    if cause:
        assert cluster.shown()[:2] == (False, "DrillBlocked")
        assert cause in cluster.shown()[2]
        cluster.sql = ""
        await cluster.one_pass()
        assert cluster.created == 1


async def test_a_failure_is_shown_with_its_cause_until_another_drill_succeeds() -> None:
    cluster = Cluster(now="monday")
    await cluster.one_pass()
    cluster.objects = ended(cluster.objects[0], message="a WAL segment is missing")
    for _ in range(2):
        await cluster.one_pass()
    assert cluster.objects == []
    assert cluster.shown()[:2] == (False, "DrillFailed")
    assert "a WAL segment is missing" in cluster.shown()[2]
    cluster.now = "tuesday"
    await cluster.one_pass()
    cluster.objects = ended(cluster.objects[0], report=json.dumps(REPORT))
    await cluster.one_pass()
    assert cluster.shown()[0]
    assert cluster.known is not None
    assert [one.state for one in cluster.known.drills] == ["Succeeded", "Failed"]


@pytest.mark.parametrize("report", ["x", "[]", '{"timeline": 1}', json.dumps(REPORT | {"timeline": "x"})])
async def test_a_report_that_cannot_be_read_proves_nothing(report: str) -> None:
    cluster = Cluster(now="monday")
    await cluster.one_pass()
    cluster.objects = ended(cluster.objects[0], report=report)
    await cluster.one_pass()
    assert cluster.shown()[:2] == (False, "DrillFailed")
    assert cluster.known is not None
    assert cluster.known.last_proven_restore is None


async def test_one_at_a_time() -> None:
    """Also if the Job of another cluster was created a moment ago, and is not in the store yet."""
    starting = ClusterCache(drill=DrillCache(starts=True))
    cluster = Cluster(now="monday")
    [wait] = await cluster.one_pass(others=(starting, cluster.cache))
    assert wait.reason == "a restore drill waits for that of another cluster"
    other = Cluster(now="monday")
    await other.one_pass()
    job = other.objects[0]
    job["metadata"]["namespace"] = "ns2"
    cluster.objects = [job]
    assert len(await cluster.one_pass()) == 1
    assert cluster.created == 0
    cluster.objects = ended(job, message="x")[:1]
    await cluster.one_pass()
    assert cluster.created == 1


async def test_a_refused_job_is_shown_and_tried_again() -> None:
    cluster = Cluster(now="monday")
    cluster.refusal = Forbidden(403, "Forbidden", "exceeded quota", "Job", "ns1", "cluster1-restore-drill")
    [wait] = await cluster.one_pass()
    assert wait.seconds == act_drill.TURN_SECONDS
    assert cluster.shown()[:2] == (False, "DrillBlocked")
    assert "exceeded quota" in cluster.shown()[2]
    cluster.refusal = None
    await cluster.one_pass()
    await cluster.one_pass()
    assert cluster.finding() is None


async def test_a_pod_that_does_not_start_is_shown_with_its_cause() -> None:
    cluster = Cluster(now="monday")
    await cluster.one_pass()
    assert await cluster.one_pass() == [Wait("a restore drill runs", act_drill.TURN_SECONDS)]
    assert cluster.finding() is None
    job = cluster.objects[0]
    job["metadata"]["creationTimestamp"] = (NOW - decide_drill.POD_PATIENCE).isoformat()
    pod = ended(job, message="-")[1]
    no_room = {"type": "PodScheduled", "status": "False", "message": "0/3 nodes have room"}
    cluster.objects = [job, pod | {"status": {"phase": "Pending", "conditions": [no_room]}}]
    await cluster.one_pass()
    assert cluster.shown()[:2] == (False, "DrillBlocked")
    assert cluster.shown()[2].endswith("does not start: 0/3 nodes have room")
    cluster.objects = ended(job, report=json.dumps(REPORT))
    await cluster.one_pass()
    assert cluster.shown()[0]


async def test_a_proof_gets_old() -> None:
    proven = RestoreDrillStatus(
        schedule="0 * * * *",
        handled=NOW,
        last_proven_restore=NOW - timedelta(hours=4),
        drills=(result("repo1"),),
    )
    seen = asked("0 * * * *", known=proven)
    [found] = decide_drill.conditions(seen, decide_drill.status(seen))
    assert found[1:3] == (False, "DrillOverdue")
    fresh = proven.model_copy(update={"last_proven_restore": NOW - timedelta(hours=2)})
    seen = asked("0 * * * *", known=fresh)
    assert decide_drill.conditions(seen, decide_drill.status(seen))[0].status
