"""The plan of a takeover: what becomes of each object, and what forbids it. Pure parts."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pgoperator import labels, naming
from pgoperator.kube import kinds
from pgoperator.kube.manifest import Key, Kind, Manifest, encoded, key_of, name_of
from reconcilers.pgcluster.backups import build_repo_host
from reconcilers.pgcluster.state.observe import observe
from reconcilers.pgcluster.takeover import (
    build_report,
    decide_features,
    decide_health,
    decide_objects,
    decide_owner,
    read_plan,
)
from reconcilers.pgcluster.takeover.plan import Blocker, Outcome, Plan, Rehearsal, Snapshot
from tests.support import percona_cluster as theirs
from tests.support import percona_running as running
from tests.support.views import NAMESPACE, filled_store, view

C = theirs.C
INSTANCE = theirs.INSTANCES[1]
CA = {"root.crt": b"public", "root.key": b"private"}


def world() -> dict[str, Any]:
    """A cluster that can be taken over, as parts that a test changes."""
    found = [*running.objects(), *running.pods(), authority()]
    for number, one in enumerate(found):
        one["metadata"] |= {"namespace": NAMESPACE, "uid": f"uid-of-{number}"}
    cluster = running.cluster()
    return {
        "cluster": cluster,
        "objects": {key_of(one): copy.deepcopy(one) for one in found},
        "inner": running.inner(cluster),
    }


def authority() -> Manifest:
    one = theirs.certificate_authority()
    del one["stringData"]
    return one | {"data": encoded(CA)}


Change = Callable[[dict[str, Any]], object]


def snapshot(*changes: Change) -> Snapshot:
    parts = world()
    for change in changes:
        change(parts)
    return Snapshot(**parts)


def causes(*changes: Change) -> list[str]:
    return [blocker.cause for blocker in blockers(snapshot(*changes))]


def blockers(of: Snapshot) -> list[Blocker]:
    observed = observe(filled_store(list(of.objects.values())), NAMESPACE, C)
    return [
        *decide_owner.blockers(of),
        *decide_features.blockers(of),
        *decide_health.blockers(of, observed),
    ]


def spec(**fields: Any) -> Change:
    return lambda parts: parts["cluster"]["spec"].update(fields)


def metadata(part: str, **fields: Any) -> Change:
    return lambda parts: parts[part]["metadata"].update(fields)


def annotated(key: str, value: str = "true") -> Change:
    return lambda parts: parts["cluster"]["metadata"].setdefault("annotations", {}).update({key: value})


def each(parts: dict[str, Any], kind: Kind, name: str) -> Manifest:
    found: Manifest = parts["objects"][Key(kind.kind, NAMESPACE, name)]
    return found


def changed(kind: Kind, name: str, how: Callable[[Manifest], object]) -> Change:
    return lambda parts: how(each(parts, kind, name))


def added(manifest: Manifest) -> Change:
    manifest["metadata"] |= {"namespace": NAMESPACE, "uid": f"uid-of-{name_of(manifest)}"}
    return lambda parts: parts["objects"].update({key_of(manifest): manifest})


def gone(kind: Kind, name: str) -> Change:
    return lambda parts: parts["objects"].pop(Key(kind.kind, NAMESPACE, name))


def member(**fields: Any) -> Change:
    def change(pod: Manifest) -> None:
        annotations = pod["metadata"]["annotations"]
        annotations["status"] = json.dumps(json.loads(annotations["status"]) | fields)

    return changed(kinds.POD, naming.pod(INSTANCE), change)


def unready(name: str) -> Change:
    return changed(kinds.POD, name, lambda pod: pod.update(status=running.ready(is_so=False)))


def owned_by(uid: str, kind: str = "PostgresCluster", name: str = C) -> Callable[[Manifest], None]:
    reference = theirs.OWNER | {"uid": uid, "kind": kind, "name": name}
    return lambda one: one["metadata"].update(ownerReferences=[reference])


def operator(image: str) -> Change:
    pod = {"metadata": {"name": "operator-1"}, "spec": {"containers": [{"name": "operator", "image": image}]}}
    return lambda parts: parts.update(operators=(pod,))


def dcs(**annotations: str) -> Change:
    name = naming.patroni_config(C)
    return changed(kinds.ENDPOINTS, name, lambda one: one["metadata"]["annotations"].update(annotations))


def lease(holder: str) -> Change:
    one = theirs.lease()
    one["spec"]["holderIdentity"] = holder
    return added(one)


def job(*, active: int) -> Change:
    return added(theirs.backup_job("other") | {"status": {"active": active}})


def test_a_cluster_that_is_well_and_quiet_can_be_taken_over() -> None:
    assert causes() == []


DONE = {"state": "Succeeded"}


@pytest.mark.parametrize(
    "change",
    [
        added(theirs.backup("old", DONE)),
        added(theirs.restore("old", {"state": "Failed"})),
        job(active=0),
        lease(""),
        operator("registry.example/pgoperator:1"),
        spec(logcollector={"enabled": True, "image": "x"}),
        spec(tls={"certManagementPolicy": "auto"}),
        dcs(config='{"ttl": 30}'),
        gone(kinds.STATEFUL_SET, naming.repo_host(C)),
        gone(kinds.DEPLOYMENT, naming.pgbouncer(C)),
    ],
)
def test_what_does_not_stand_against_it(change: Change) -> None:
    assert causes(change) == []


BLOCKED: dict[str, tuple[Change, str]] = {
    # whose it is
    "deleted": (metadata("cluster", deletionTimestamp="x"), "PerconaPGCluster cluster1 is being deleted"),
    "inner deleted": (metadata("inner", deletionTimestamp="x"), "PostgresCluster cluster1 is being deleted"),
    "inner gone": (lambda parts: parts.update(inner=None), "does not exist, but owns the cluster's objects"),
    "inner unread": (
        lambda parts: parts.update(inner=None, inner_unread="no right"),
        "cannot be read: no right",
    ),
    "inner again": (metadata("inner", uid="other"), "was created again"),
    "inner of another": (
        metadata("inner", ownerReferences=[]),
        "does not belong to PerconaPGCluster cluster1",
    ),
    "two owners": (
        changed(kinds.SERVICE, f"{C}-ha", owned_by("other", "PostgresCluster")),
        "Service cluster1-ha belong to PostgresCluster cluster1 (uid other)",
    ),
    "a stranger": (
        changed(kinds.DEPLOYMENT, naming.pgbouncer(C), owned_by("other", "Exporter", "x")),
        "Deployment cluster1-pgbouncer belong to Exporter x",
    ),
    "nothing owned": (
        lambda parts: [one["metadata"].pop("ownerReferences", None) for one in parts["objects"].values()],
        "no object belongs to the PostgresCluster of this cluster",
    ),
    # what the spec asks for
    "paused": (spec(pause=True), "spec.pause is true"),
    "unmanaged": (spec(unmanaged=True), "spec.unmanaged is true"),
    "no version": (spec(crVersion=None), "spec.crVersion is not set"),
    "old version": (spec(crVersion="2.9.0"), "spec.crVersion is 2.9.0"),
    "standby": (spec(standby={"enabled": True, "host": "x"}), "spec.standby is set"),
    "issuer": (spec(tls={"issuerConf": {"name": "x"}}), "spec.tls.issuerConf is set"),
    "custom": (spec(extensions={"custom": [{"name": "x", "version": "1"}]}), "spec.extensions.custom is set"),
    "init SQL": (spec(databaseInitSQL={"name": "x", "key": "y"}), "spec.databaseInitSQL is set"),
    "restore asked": (annotated(labels.PGBACKREST_RESTORE, "1"), "pgbackrest-restore asks for something"),
    "backup asked": (annotated(labels.PERCONA + "pgbackrest-backup", "1"), "pgbackrest-backup asks for"),
    "switchover": (annotated(labels.CRUNCHY + labels.TRIGGER_SWITCHOVER, "1"), "trigger-switchover asks for"),
    "overridden": (
        changed(
            kinds.CONFIG_MAP,
            f"{C}-pgbouncer",
            lambda one: one["metadata"].update(annotations={labels.OVERRIDE_CONFIG: "true"}),
        ),
        "ConfigMap cluster1-pgbouncer has the annotation pgv2.percona.com/override-config",
    ),
    "cert-manager": (
        changed(
            kinds.SECRET, naming.cluster_ca(C), lambda one: one.update(data={"tls.crt": "", "ca.crt": ""})
        ),
        "cert-manager issued it",
    ),
    "no authority": (
        gone(kinds.SECRET, naming.cluster_ca(C)),
        "with the certificate authority does not exist",
    ),
    # how it is
    "operator": (operator(running.OPERATOR), "Percona's operator runs in this namespace: pod operator-1"),
    "no primary": (
        changed(kinds.ENDPOINTS, f"{C}-ha", lambda one: one["metadata"]["annotations"].pop("leader")),
        "the cluster has no primary",
    ),
    "not ready": (unready(naming.pod(INSTANCE)), f"instance {INSTANCE} is not ready"),
    "not streaming": (member(state="starting"), "does not stream from the primary"),
    "timeline": (member(timeline=2), "is on timeline 2, the primary on 3"),
    "restart": (member(pending_restart=True), "waits for a restart of PostgreSQL"),
    "orphan": (gone(kinds.STATEFUL_SET, INSTANCE), "has a pod but no StatefulSet"),
    "Patroni paused": (dcs(config='{"pause": true}'), "Patroni is paused"),
    "failover": (
        added(
            theirs.loose(kinds.ENDPOINTS, f"{C}-ha-failover")
            | {"metadata": {"name": f"{C}-ha-failover", "annotations": {"leader": "x"}}}
        ),
        "a switchover has been requested",
    ),
    "host": (unready(naming.pod(naming.repo_host(C))), "the repository host is not ready"),
    "poolers": (unready(f"{C}-pgbouncer-a"), "2 of 3 pgBouncer pods are ready"),
    "backup": (added(theirs.backup("b", {"state": "Running"})), "PerconaPGBackup b has not ended (Running)"),
    "backup asked for": (added(theirs.backup("b")), "PerconaPGBackup b has not ended (not begun)"),
    "restore": (
        added(theirs.restore("r", {"state": "Running"})),
        "PerconaPGRestore r has not ended (Running)",
    ),
    "job": (job(active=1), "Job other-job runs"),
    "marked": (annotated(labels.BACKUP_IN_PROGRESS), "shows a backup"),
    "lease": (lease("gone|uid"), "Lease pg-cluster1-backup-lock is held by gone"),
}


@pytest.mark.parametrize(("change", "cause"), BLOCKED.values(), ids=BLOCKED)
def test_each_obstacle_is_named_alone_with_a_next_step(change: Change, cause: str) -> None:
    found = blockers(snapshot(change))
    assert len(found) == 1, found
    assert cause in found[0].cause
    assert found[0].next_step


# --- what becomes of each object --------------------------------------------------------------------------


def rehearsal(of: Snapshot, *outcomes: Outcome, **fields: Any) -> Rehearsal:
    observed = observe(filled_store(list(of.objects.values())), NAMESPACE, C)
    return replace(Rehearsal(observed, outcomes, complete=True), **fields)


def outcome(of: Snapshot, kind: Kind, name: str, **changes: Any) -> Outcome:
    """The object stays, but for these fields, as desired and as the API server answers."""
    stored = of.objects[Key(kind.kind, NAMESPACE, name)]
    after = copy.deepcopy(stored) | changes
    return Outcome(after, stored, after)


def template(*containers: str, image: str = "") -> Manifest:
    made = [{"name": one, "image": image or running.IMAGE_OF.get(one, "theirs")} for one in containers]
    return {"template": {"spec": {"containers": made}}}


def test_what_becomes_of_each_object() -> None:
    of = snapshot()
    new = theirs.loose(kinds.CONFIG_MAP, f"{C}-scripts")
    found = decide_objects.entries(
        of,
        rehearsal(
            of,
            outcome(of, kinds.SERVICE, f"{C}-ha"),
            outcome(of, kinds.CONFIG_MAP, f"{C}-config", data={"ours": "1"}),
            outcome(of, kinds.PVC, naming.instance_volume(INSTANCE)),
            outcome(of, kinds.PVC, f"{C}-repo1", spec={}),
            Outcome(new, None, new),
            secrets={naming.cluster_ca(C): CA, f"{C}-pgbouncer": {"a": b"1"}},
        ),
    )
    by_name = {(entry.kind, entry.name): (entry.action, entry.changes) for entry in found}
    assert len(by_name) == len(found)
    assert by_name["Service", f"{C}-ha"] == ("adopt", ())
    assert by_name["ConfigMap", f"{C}-config"] == ("adopt", ("data.ours", "data.theirs"))
    assert by_name["PersistentVolumeClaim", naming.instance_volume(INSTANCE)] == ("keep", ())
    assert by_name["PersistentVolumeClaim", f"{C}-repo1"][0] == "change"
    assert by_name["ConfigMap", f"{C}-scripts"] == ("create", ())
    assert by_name["Secret", naming.cluster_ca(C)] == ("adopt", ())
    assert by_name["Secret", f"{C}-pgbouncer"] == ("create", ())
    assert by_name["Role", f"{C}-pgbackrest"] == ("remove", ())
    assert by_name["Endpoints", f"{C}-ha"] == ("leave", ())


def test_nothing_is_said_to_go_while_this_operator_s_objects_are_not_all_known() -> None:
    of = snapshot()
    made = rehearsal(of, outcome(of, kinds.SERVICE, f"{C}-ha"), complete=False)
    assert [(entry.kind, entry.action) for entry in decide_objects.entries(of, made)] == [
        ("Service", "adopt")
    ]
    assert "objects   1: 1 adopt (not all: see below)" in build_report.text(plan(of, made))


def test_a_secret_shows_the_keys_that_change_and_no_value() -> None:
    of = snapshot()
    after = CA | {"root.crt": b"a-new-certificate"}
    made = plan(of, rehearsal(of, secrets={naming.cluster_ca(C): after}))
    entry = next(entry for entry in made.entries if entry.name == naming.cluster_ca(C))
    assert entry.changes == ("root.crt",)
    text = build_report.text(made)
    assert not any(value in text for value in ("private", "public", "a-new-certificate"))


def test_labels_that_tools_select_by_are_shown_when_they_go() -> None:
    before = {"metadata": {"labels": {"a": "1", "b": "1"}}, "spec": {"x": 1, "y": 1}, "rules": [1]}
    after = {"metadata": {"labels": {"a": "2", "c": "1"}}, "spec": {"x": 1, "y": 2}, "rules": [2]}
    assert decide_objects.changed(before, after) == ["~label a", "-label b", "+label c", "rules", "spec.y"]


def pod_changes(of: Snapshot, *names: str) -> Rehearsal:
    sets = [n for n in names if n != naming.pgbouncer(C)]
    outcomes = [outcome(of, kinds.STATEFUL_SET, name, spec=template("database")) for name in sets]
    if naming.pgbouncer(C) in names:
        outcomes.append(outcome(of, kinds.DEPLOYMENT, naming.pgbouncer(C), spec=template("pgbouncer")))
    return rehearsal(of, *outcomes)


def test_every_restart_is_named_and_the_primary_comes_last() -> None:
    of = snapshot()
    every = pod_changes(of, *theirs.INSTANCES, naming.repo_host(C), naming.pgbouncer(C))
    found = [line.split(":")[0] for line in decide_objects.restarts(every)]
    assert found == [
        naming.pod(naming.repo_host(C)),
        *(f"{C}-pgbouncer-{n}" for n in "abc"),
        *map(naming.pod, running.REPLICAS),
        naming.pod(running.PRIMARY),
    ]
    assert decide_objects.restarts(rehearsal(of)) == []
    assert len(decide_objects.restarts(pod_changes(of, INSTANCE))) == 1


def test_a_single_instance_has_no_switchover() -> None:
    of = snapshot(
        *(gone(kinds.STATEFUL_SET, one) for one in running.REPLICAS),
        *(gone(kinds.POD, naming.pod(one)) for one in running.REPLICAS),
    )
    [line] = decide_objects.restarts(pod_changes(of, running.PRIMARY))
    assert line == f"{naming.pod(running.PRIMARY)}: the primary: no writes meanwhile"


def test_the_repository_host_keeps_what_nobody_can_change() -> None:
    of = snapshot()
    made = [
        one
        for one in build_repo_host.desired(view(list(of.objects.values())))
        if one["kind"] == kinds.STATEFUL_SET.kind
    ]
    theirs_now = each({"objects": of.objects}, kinds.STATEFUL_SET, naming.repo_host(C))["spec"]
    [spec] = [one["spec"] for one in made]
    assert spec["selector"] == theirs_now["selector"] != {"matchLabels": labels.repo_host(C)}
    assert spec["revisionHistoryLimit"] == 10
    assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()


def refusals(*outcomes: Outcome, **fields: Any) -> list[str]:
    of = snapshot()
    return [one.cause for one in decide_objects.blockers(of, rehearsal(of, *outcomes, **fields))]


def test_an_object_that_cannot_become_ours_is_named() -> None:
    of = snapshot()
    same = outcome(of, kinds.STATEFUL_SET, INSTANCE)
    assert refusals(same) == []
    refused = replace(same, after=None, refusal="spec: Forbidden")
    assert refusals(refused) == [
        f"the API server refuses StatefulSet {INSTANCE} as this operator would write it: spec: Forbidden"
    ]
    [kept] = refusals(
        replace(
            same,
            desired=same.desired | {"spec": template("database")},
            after=same.desired | {"spec": template("database", "theirs")},
        )
    )
    assert "would keep 'theirs' in containers" in kept
    [image] = refusals(
        replace(same, desired=same.desired | {"spec": template("database", image="new")}, after={})
    )
    assert "in container 'database', and would run new" in image
    exporter = copy.deepcopy(same)
    assert exporter.stored is not None
    owned_by("other", "Exporter", "x")(exporter.stored)
    assert refusals(exporter) == [f"StatefulSet {INSTANCE} belongs to Exporter x"]
    assert refusals(obstacles=("no image",)) == ["no image"]


# --- the plan ----------------------------------------------------------------------------------------------


def plan(of: Snapshot, made: Rehearsal) -> Plan:
    return read_plan.assemble(of, made)


def test_the_digest_changes_with_what_would_be_done_and_with_nothing_else() -> None:
    of = snapshot()
    ids = [
        build_report.identity(plan(of, rehearsal(of))),
        build_report.identity(plan(of, pod_changes(of, INSTANCE))),
        build_report.identity(plan(of, rehearsal(of, outcome(of, kinds.SERVICE, f"{C}-ha", spec={"a": 1})))),
        build_report.identity(plan(of, rehearsal(of, outcome(of, kinds.SERVICE, f"{C}-ha", spec={"a": 2})))),
    ]
    assert len(set(ids)) == len(ids)
    renewed = snapshot(dcs(optime="9"), member(xlog_location=43))
    assert build_report.identity(plan(renewed, rehearsal(renewed))) == ids[0]


def test_the_text_has_every_object_restart_and_cause() -> None:
    of = snapshot(spec(pause=True))
    made = plan(of, pod_changes(of, *theirs.INSTANCES))
    text = build_report.text(made)
    assert text.startswith(f"plan {build_report.identity(made)} for PerconaPGCluster {NAMESPACE}/{C}\n")
    for entry in made.entries:
        assert f"  {entry.kind} {entry.name}" in text
    assert all(f"  {line}\n" in text for line in made.restarts)
    assert "spec.pause is true: no pod runs that could be examined\n    -> set spec.pause to false" in text
    assert "\n1 blocker\n" in text
    assert "nothing blocks a takeover" in build_report.text(replace(made, blockers=()))


def test_what_a_user_notices_afterwards_is_said_before() -> None:
    def told(*changes: Change) -> str:
        return "; ".join(decide_features.differences(snapshot(*changes)))

    assert "first full backup" in told()
    assert "first full backup" not in told(spec(backups={"enabled": False}))
    assert "PerconaPGBackup" in told(added(theirs.backup("old", DONE)))
    assert "PerconaPGBackup" not in told()
    assert "logs" in told(spec(logcollector={"enabled": True, "image": "x"}))
