"""The status: what a person and `kubectl wait` are shown, in every state that a cluster can be in."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from pgoperator import labels, naming
from pgoperator.api.status import PGClusterStatus
from pgoperator.kube.manifest import Manifest
from reconcilers.pgcluster.credentials import conditions as credential_conditions
from reconcilers.pgcluster.pooler import act_pooler_pause
from reconcilers.pgcluster.state.cache import Change, ClusterCache, ReplicationCache, SwitchoverOutcome
from reconcilers.pgcluster.state.findings import Finding, Problem
from reconcilers.pgcluster.state.view import View
from reconcilers.pgcluster.status import build_status as report
from reconcilers.pgcluster.status import conditions
from reconcilers.pgcluster.status.conditions import PATIENCE, PassResult
from tests.support.views import CLAIM, NOW, view
from tests.unit.pgcluster.observed import (
    bootstrapped,
    claim,
    instance_pod,
    leader,
    pooler_pod,
    repo_host_pod,
    stateful_set,
)

NAMES = sorted(p.name for p in view().planned)
GOOD = PassResult(access_is_current=True, stanza_hash="abc")
MINUTE = timedelta(minutes=1)
PULL = Problem("ImagePullBackOff", "pod x: no such image")


@dataclass
class World:
    """A healthy cluster of three instances and three poolers; fields say what is different."""

    primary: str | None = NAMES[0]
    absent: tuple[str, ...] = ()
    unready: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
    poolers: int = 3
    repo_host: bool = True
    new: bool = False
    extra: tuple[str, ...] = ()
    more: Sequence[Manifest] = ()
    spec: dict[str, Any] = field(default_factory=dict)

    @property
    def present(self) -> set[str]:
        """Instances that exist."""
        return {*NAMES, *self.extra} - {*self.absent}

    @property
    def serving(self) -> set[str]:
        """Instances that do what they are there for."""
        silent = {*self.silent} - {self.primary}
        return self.present - {*self.unready} - silent

    def memory(self) -> ClusterCache:
        """What is remembered of it: which replicas follow."""
        following = self.present - {*self.silent, self.primary}
        return ClusterCache(
            replication=ReplicationCache(following={f"uid-of-{naming.pod(name)}" for name in following})
        )

    def objects(self) -> list[Manifest]:
        result: list[Manifest] = [*self.more]
        for name in (*NAMES, *self.extra):
            if name in self.absent:
                continue
            is_primary = name == self.primary
            state = "running" if is_primary or name in self.silent else "streaming"
            role = "primary" if is_primary else "replica"
            result += [
                stateful_set(name),
                instance_pod(name, role, state, ready=name not in self.unready),
            ]
        if self.primary is not None:
            result.append(leader(self.primary))
        if not self.new:
            result.append(bootstrapped())
        result += [pooler_pod(number, ready=number < self.poolers) for number in range(3)]
        return [*result, repo_host_pod(ready=self.repo_host)]

    def view(self, previous: PGClusterStatus | None = None, *, age: timedelta = timedelta()) -> View:
        one = view(
            self.objects(), status=previous.to_manifest() if previous is not None else None, **self.spec
        )
        return replace(one, now=NOW + age)


def shown(
    world: World,
    outcome: PassResult = GOOD,
    previous: PGClusterStatus | None = None,
    *,
    memory: ClusterCache | None = None,
    age: timedelta = timedelta(),
    claims: Sequence[Manifest] = (),
) -> PGClusterStatus:
    return report.status(world.view(previous, age=age), outcome, memory or world.memory(), claims)


def words(status: PGClusterStatus) -> dict[str, str]:
    return {condition.type: condition.status for condition in status.conditions}


def message(status: PGClusterStatus, kind: str = "Ready") -> str:
    found = status.condition(kind)
    assert found is not None
    return found.message


def reason(status: PGClusterStatus, kind: str = "Ready") -> str:
    found = status.condition(kind)
    assert found is not None
    return found.reason


READY = {"Ready": "True", "Progressing": "False", "Degraded": "False"}


def test_a_healthy_cluster_is_ready() -> None:
    status = shown(World())
    assert status.state == "ready"
    assert words(status).items() >= READY.items()
    assert status.host == "cluster1-pgbouncer.ns1.svc"
    assert status.postgres is not None
    assert status.pgbouncer is not None
    assert (status.postgres.size, status.postgres.ready) == (3, 3)
    assert (status.pgbouncer.size, status.pgbouncer.ready) == (3, 3)
    assert [(s.name, s.size, s.ready) for s in status.postgres.instances] == [("instance1", 3, 3)]
    assert status.patroni is not None
    assert status.patroni.status is not None
    assert status.patroni.status.system_identifier == "7300000000000000001"
    assert status.patroni.version == status.patroni_version == "4.0.5"
    assert status.observed_generation == 1
    assert {c.observed_generation for c in status.conditions} == {1}
    assert words(status).keys() >= {
        *("Ready", "Progressing", "Degraded", "TLSSecretsReady", "ProxyAvailable"),
        *("PGBackRestRepoHostReady", "PGBackRestReplicaRepoReady"),
    }


NOT_READY = {
    "no primary": (World(primary=None), "no primary accepts writes"),
    "a pod is not there": (World(absent=(NAMES[2],)), "2 of 3 instances are ready"),
    "a replica is not ready": (World(unready=(NAMES[1],)), f"waiting for {naming.pod(NAMES[1])}"),
    "the primary is not ready": (World(unready=(NAMES[0],)), f"waiting for {naming.pod(NAMES[0])}"),
    "a replica does not stream": (World(silent=(NAMES[2],)), f"waiting for {naming.pod(NAMES[2])}"),
    "a pooler is not ready": (World(poolers=2), "2 of 3 pgBouncer pods are ready"),
    "no repository host": (World(repo_host=False), "the repository host is not ready"),
    "one too many": (World(extra=("cluster1-instance1-zzzz",)), "to be removed: cluster1-instance1-"),
}


@pytest.mark.parametrize("case", NOT_READY)
def test_less_than_promised_is_not_ready_and_says_what_is_missing(case: str) -> None:
    world, words_ = NOT_READY[case]
    status = shown(world)
    assert status.state == "initializing"
    assert words(status)["Ready"] == "False"
    assert words_ in message(status)


def test_users_must_be_there_as_well() -> None:
    status = shown(World(), replace(GOOD, access_is_current=False))
    assert status.state == "initializing"
    assert "users and databases are being set up" in message(status)


def test_without_a_pooler_and_backups_nothing_is_asked_of_them() -> None:
    spec = {"proxy": None, "backups": {"enabled": False}}
    status = shown(World(poolers=0, repo_host=False, spec=spec), replace(GOOD, stanza_hash=None))
    assert status.state == "ready"
    assert status.host == "cluster1-primary.ns1.svc"
    assert status.pgbackrest is None
    assert (
        not {"ProxyAvailable", "PGBackRestRepoHostReady", "PGBackRestReplicaRepoReady"} & words(status).keys()
    )


@pytest.mark.parametrize(
    ("ingress", "host"),
    [
        ([], ""),
        ([{"ip": "192.0.2.1"}], "192.0.2.1"),
        ([{"hostname": "lb.example", "ip": "192.0.2.1"}], "lb.example"),
    ],
)
def test_the_host_of_a_load_balancer_is_what_it_got(ingress: list[Manifest], host: str) -> None:
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "cluster1-pgbouncer",
            "namespace": "ns1",
            "labels": labels.of_cluster("cluster1"),
        },
        "status": {"loadBalancer": {"ingress": ingress}},
    }
    proxy = {"pgBouncer": {"replicas": 3, "expose": {"type": "LoadBalancer"}}}
    assert shown(World(more=[service], spec={"proxy": proxy})).host == host


def test_repositories_show_their_volumes_and_stanzas() -> None:
    own = {labels.PGBACKREST_REPO: "repo1"}
    status = shown(World(), claims=[claim("cluster1-repo1", own)])
    assert status.pgbackrest is not None
    assert status.pgbackrest.repo_host is not None
    assert status.pgbackrest.repo_host.ready is True
    [repo] = status.pgbackrest.repos
    assert (repo.name, repo.bound, repo.volume) == ("repo1", True, "pv-cluster1-repo1")
    assert (repo.stanza_created, repo.repo_options_hash) == (True, "abc")
    pending = shown(
        World(), replace(GOOD, stanza_hash=None), claims=[claim("cluster1-repo1", own, "Pending")]
    )
    assert pending.pgbackrest is not None
    assert (pending.pgbackrest.repos[0].bound, pending.pgbackrest.repos[0].stanza_created) == (False, False)
    assert words(pending)["PGBackRestReplicaRepoReady"] == "False"
    assert pending.state == "ready", "a database whose archive is not ready yet serves"


def test_the_image_is_the_one_that_runs() -> None:
    container = {"name": "database", "imageID": "sha256:1", "ready": True, "state": {"running": {}}}
    name = NAMES[0]
    world = World(
        absent=(name,),
        more=[stateful_set(name), instance_pod(name, "primary", "running", containers=[container])],
    )
    status = shown(world)
    assert status.postgres is not None
    assert status.postgres.image_id == "sha256:1"
    later = shown(World(primary=None), previous=status)
    assert later.postgres is not None
    assert later.postgres.image_id == "sha256:1", "what was known stays while there is no primary"


def test_fields_without_effect_are_named() -> None:
    status = shown(World(spec={"standby": {"enabled": True}}))
    assert words(status)["FieldsIgnored"] == "True"
    assert "spec.standby" in message(status, "FieldsIgnored")
    assert status.state == "ready"


def test_what_the_operator_decides_is_told_by_a_condition_of_its_own() -> None:
    dynamic = {"postgresql": {"parameters": {"hba_file": "/x"}}}
    status = shown(World(spec={"patroni": {"dynamicConfiguration": dynamic}}))
    assert "dynamicConfiguration.postgresql.parameters.hba_file" in message(status, "FieldsOverridden")
    assert "FieldsIgnored" not in words(status)
    assert status.state == "ready"


# --- slow or broken ------------------------------------------------------------------------------------


def test_passwords_in_the_spec_are_named_and_not_shown() -> None:
    options = {"repo1-cipher-pass": "s3cret", "repo2-s3-key-secret": "s3cret", "repo1-retention-full": "4"}
    rules = [
        {"connection": "hostssl", "method": "scram-sha-256"},
        {"connection": "hostssl", "method": "ldap", "options": {"ldapbindpasswd": "s3cret"}},
        {"connection": "", "method": "", "hba": "hostssl all all all radius radiussecrets=s3cret"},
    ]
    lines = ["hostssl all all all scram-sha-256", 'hostssl all all all ldap "ldapbindpasswd=s3cret"']
    repo = {"name": "repo1", "volume": {"volumeClaimSpec": CLAIM}}
    one = view(
        backups={"pgbackrest": {"repos": [repo], "global": options}},
        authentication={"rules": rules},
        patroni={"dynamicConfiguration": {"postgresql": {"pg_hba": lines}}},
    )
    [found] = credential_conditions.plain_text(one)
    shown_ones = conditions.findings(one, PassResult(), [], [])
    assert found in shown_ones
    assert (found.type, found.status) == ("SecretsInPlainText", True)
    for path in (
        "spec.backups.pgbackrest.global.repo1-cipher-pass",
        "spec.backups.pgbackrest.global.repo2-s3-key-secret",
        "spec.authentication.rules[1]",
        "spec.authentication.rules[2]",
        "spec.patroni.dynamicConfiguration.postgresql.pg_hba[1]",
    ):
        assert path in found.message
    assert found.message.count("spec.") == 5
    assert "s3cret" not in found.message
    for pg_hba in ("x", None, [1, None]):
        spec = {"dynamicConfiguration": {"postgresql": {"pg_hba": pg_hba}}}
        assert credential_conditions.plain_text(view(patroni=spec)) == []


def test_a_new_cluster_progresses_and_is_not_degraded() -> None:
    status = shown(
        World(new=True, primary=None, absent=tuple(NAMES), poolers=0, repo_host=False), PassResult()
    )
    assert words(status).items() >= {"Ready": "False", "Progressing": "True", "Degraded": "False"}.items()
    assert (reason(status), reason(status, "Progressing")) == ("Initializing", "Reconciling")


def test_a_cause_is_the_reason_and_comes_first() -> None:
    status = shown(World(absent=(NAMES[2],)), replace(GOOD, problems=(PULL,)))
    assert words(status).items() >= {"Ready": "False", "Progressing": "True", "Degraded": "True"}.items()
    assert reason(status) == reason(status, "Degraded") == "ImagePullBackOff"
    assert message(status).startswith("pod x: no such image; 2 of 3 instances are ready")


def test_a_problem_alone_keeps_a_cluster_from_being_ready() -> None:
    status = shown(World(), replace(GOOD, problems=(Problem("ParameterRefused", "work_mem: no"),)))
    assert (status.state, reason(status), message(status)) == (
        "initializing",
        "ParameterRefused",
        "work_mem: no",
    )


def test_progress_says_what_is_waited_for() -> None:
    status = shown(World(absent=(NAMES[2],)), replace(GOOD, waits=("copying", "promoting")))
    assert message(status, "Progressing") == "copying; promoting"


def test_a_loss_is_told_from_a_beginning() -> None:
    """The same picture: at first it is a start, once the cluster was ready it is a loss."""
    world = World(absent=(NAMES[2],))
    assert words(shown(world))["Degraded"] == "False"
    lost = shown(world, previous=shown(World()))
    assert words(lost).items() >= {"Ready": "False", "Progressing": "True", "Degraded": "True"}.items()
    assert words(shown(world, previous=lost))["Degraded"] == "True", "still a loss in the pass after"


def test_after_the_patience_it_is_stalled() -> None:
    world = World(absent=(NAMES[2],))
    first = shown(world)
    soon = shown(world, previous=first, age=PATIENCE)
    assert words(soon)["Progressing"] == "True"
    late = shown(world, previous=soon, age=PATIENCE + MINUTE)
    assert words(late).items() >= {"Ready": "False", "Progressing": "False", "Degraded": "True"}.items()
    assert {reason(late, kind) for kind in READY} == {"Stalled"}
    assert "no progress for 10 minutes: 2 of 3 instances are ready" in message(late)
    assert reason(shown(world, previous=late, age=PATIENCE + 2 * MINUTE)) == "Stalled", "it stays so"
    assert shown(World(), previous=late, age=PATIENCE + 2 * MINUTE).state == "ready"


def test_a_problem_stays_the_reason_after_the_patience() -> None:
    world, outcome = World(absent=(NAMES[2],)), replace(GOOD, problems=(PULL,))
    status = shown(world, outcome)
    for minutes in (5, 11, 12, 13):
        status = shown(world, outcome, previous=status, age=minutes * MINUTE)
    assert {reason(status, kind) for kind in READY} == {"ImagePullBackOff"}
    assert words(status)["Progressing"] == "False"


def test_a_mended_problem_begins_the_patience_anew() -> None:
    world, outcome = World(absent=(NAMES[2],)), replace(GOOD, problems=(PULL,))
    bad = shown(world, outcome, previous=shown(world, outcome), age=60 * MINUTE)
    mended = shown(world, previous=bad, age=61 * MINUTE)
    assert words(mended)["Progressing"] == "True"
    assert reason(mended) == "NotReady"


def test_a_refused_cluster_that_is_mended_is_not_stalled() -> None:
    refused = conditions.refused(shown(World()), 2, Problem("NameTooLong", "x"), NOW)
    status = shown(World(absent=(NAMES[2],)), previous=refused, age=60 * MINUTE)
    assert words(status)["Progressing"] == "True"


def test_a_changed_spec_begins_the_patience_anew() -> None:
    world = World(absent=(NAMES[2],))
    stalled = shown(world, previous=shown(world), age=11 * MINUTE)
    assert reason(stalled) == "Stalled"
    one = world.view(stalled, age=12 * MINUTE)
    metadata = one.cluster.metadata.model_copy(update={"generation": 2})
    newer = replace(one, cluster=one.cluster.model_copy(update={"metadata": metadata}))
    assert words(report.status(newer, GOOD, ClusterCache(), []))["Progressing"] == "True"


# --- laws ----------------------------------------------------------------------------------------------


def random_world(draw: random.Random) -> tuple[World, PassResult]:
    some = [name for name in NAMES if draw.random() < 0.25]
    world = World(
        primary=draw.choice([*NAMES, *NAMES, None]),
        absent=tuple(name for name in NAMES if draw.random() < 0.15),
        unready=tuple(some) if draw.random() < 0.5 else (),
        silent=tuple(some) if draw.random() < 0.5 else (),
        poolers=draw.choice([3, 3, 3, 2, 0]),
        repo_host=draw.random() < 0.8,
        new=draw.random() < 0.2,
        extra=("cluster1-instance1-zzzz",) if draw.random() < 0.1 else (),
    )
    outcome = PassResult(
        waits=("waiting",) if draw.random() < 0.3 else (),
        problems=(PULL,) if draw.random() < 0.2 else (),
        access_is_current=draw.random() < 0.9,
        stanza_hash="abc" if draw.random() < 0.5 else None,
    )
    return world, outcome


@pytest.mark.parametrize("seed", range(40))
def test_words_agree_whatever_happens(seed: int) -> None:
    """A story of ten passes, of which nothing is known: state and conditions never contradict one another."""
    draw = random.Random(seed)
    status: PGClusterStatus | None = None
    age = timedelta()
    for _ in range(10):
        world, outcome = random_world(draw)
        age += draw.choice([timedelta(seconds=1), MINUTE, 11 * MINUTE])
        previous, status = status, shown(world, outcome, status, age=age)
        found = words(status)
        assert status.state in ("ready", "initializing")
        assert (found["Ready"] == "True") == (status.state == "ready")
        if status.state == "ready":
            assert found.items() >= READY.items()
            assert not outcome.problems
            assert world.primary in world.serving
            assert len(world.serving) == len(world.present) == 3
        else:
            # Somebody is at work, or somebody is called.
            assert "True" in (found["Progressing"], found["Degraded"])
            assert found["Degraded"] == "True" or not outcome.problems
        for condition in status.conditions:
            old = previous.condition(condition.type) if previous else None
            kept = old is not None and old.status == condition.status
            assert condition.last_transition_time == (old.last_transition_time if kept and old else NOW + age)
            assert condition.message
        # What is written must be what is read back: otherwise each pass would write again.
        assert PGClusterStatus.model_validate(status.to_manifest()) == status
        assert shown(world, outcome, status, age=age).to_manifest() == status.to_manifest()


def test_times_of_transition_stay_while_the_status_does() -> None:
    first = shown(World())
    later = shown(World(), previous=first, age=MINUTE)
    assert {c.last_transition_time for c in later.conditions} == {NOW}
    lost = shown(World(poolers=0), previous=later, age=2 * MINUTE)
    changed = {c.type for c in lost.conditions if c.last_transition_time == NOW + 2 * MINUTE}
    assert changed == {"Ready", "Progressing", "Degraded", "ProxyAvailable"}


def test_a_long_message_is_cut() -> None:
    [condition] = conditions.merged(PGClusterStatus(), [Finding("Ready", False, "X", "y" * 5000)], 1, NOW)
    assert len(condition.message) == 2000


# --- refused -------------------------------------------------------------------------------------------


def test_a_refused_cluster_says_why_and_keeps_what_was_known() -> None:
    before = shown(World())
    status = conditions.refused(before, 7, Problem("NameTooLong", "the name is too long"), NOW + MINUTE)
    assert status.state == "initializing"
    assert words(status).items() >= {"Ready": "False", "Progressing": "False", "Degraded": "True"}.items()
    assert {(reason(status, kind), message(status, kind)) for kind in READY} == {
        ("NameTooLong", "the name is too long")
    }
    assert words(status).keys() == words(before).keys()
    assert (status.postgres, status.host, status.pgbackrest) == (
        before.postgres,
        before.host,
        before.pgbackrest,
    )
    assert status.observed_generation == 7


def test_a_cluster_refused_from_the_start_has_a_status() -> None:
    status = conditions.refused(PGClusterStatus(), 1, Problem("InvalidSpec", "no"), NOW)
    assert words(status) == {"Ready": "False", "Progressing": "False", "Degraded": "True"}
    assert conditions.refused(status, 1, Problem("InvalidSpec", "no"), NOW + MINUTE) == status, "said once"


# --- what authors bring, and a pooler that holds queries back ------------------------------------------

BAD = Problem("TLSSecretsInvalid", "spec.secrets.customTLSSecret: Secret 'x': it has expired")


def test_a_certificate_that_cannot_be_used_is_told_and_others_are_not_its_matter() -> None:
    account = Problem("SecretMissing", "spec.proxy.pgBouncer.usersSecret: Secret 'y' does not exist")
    seen = replace(replace(World().view(), secrets={"one": {}}), unusable=(account, BAD))
    status = report.status(seen, replace(GOOD, problems=seen.unusable), ClusterCache(), ())
    assert words(status)["TLSSecretsReady"] == "False"
    assert (reason(status, "TLSSecretsReady"), message(status, "TLSSecretsReady")) == (
        BAD.reason,
        BAD.message,
    )
    assert words(status)["Degraded"] == "True"
    assert account.message in message(status, "Degraded")


def test_a_cluster_that_waits_for_certificates_says_so_in_their_condition() -> None:
    status = conditions.refused(shown(World()), 2, replace(BAD, reason="TLSSecretsMissing"), NOW)
    assert (words(status)["TLSSecretsReady"], words(status)["Progressing"]) == ("False", "False")
    assert reason(status, "TLSSecretsReady") == "TLSSecretsMissing"
    assert len(status.conditions) == len({c.type for c in status.conditions})


@pytest.mark.parametrize(
    ("paused", "late", "says"),
    [
        (True, (), ("True", "Paused")),
        (True, ("pool-1",), ("False", "Pausing")),
        (False, ("pool-1",), ("True", "Resuming")),
        (False, (), None),
    ],
)
def test_a_pooler_is_paused_when_all_its_pods_are(
    paused: bool, late: tuple[str, ...], says: tuple[str, str] | None
) -> None:
    world = World(spec={"proxy": {"pgBouncer": {"replicas": 3, "paused": paused}}})
    status = shown(world, replace(GOOD, poolers=late))
    found = status.condition("PGBouncerPaused")
    assert (None if found is None else (found.status, found.reason)) == says
    if found is not None and late:
        assert "pool-1" in found.message


def test_pods_of_the_pooler_are_waited_for_only_while_they_are_or_were_to_be_paused() -> None:
    world = World(spec={"proxy": {"pgBouncer": {"replicas": 3}}})
    assert act_pooler_pause.waiting(world.view(), ClusterCache()) == ()
    world.spec["proxy"]["pgBouncer"]["paused"] = True
    before = shown(world, replace(GOOD, poolers=act_pooler_pause.waiting(world.view(), ClusterCache())))
    assert reason(before, "PGBouncerPaused") == "Pausing"
    held = ClusterCache(
        poolers={(p["metadata"]["uid"], 0): "paused" for p in world.view().observed.pooler_pods}
    )
    assert act_pooler_pause.waiting(world.view(), held) == ()
    world.spec["proxy"]["pgBouncer"]["paused"] = False
    assert len(act_pooler_pause.waiting(world.view(before), held)) == 3
    assert act_pooler_pause.waiting(world.view(shown(World())), held) == ()


# --- changes -------------------------------------------------------------------------------------------


ROLLING = replace(GOOD, change=Change(rolling="1 of 3 instances have the new template: x is restarting"))


def test_a_rolling_change_is_progress_and_no_loss() -> None:
    before = shown(World())
    status = shown(World(absent=(NAMES[2],)), ROLLING, before)
    assert status.state == "initializing"
    assert (words(status)["Progressing"], reason(status, "Progressing")) == ("True", "RollingUpdate")
    assert "x is restarting" in message(status, "Progressing")
    assert words(status)["Degraded"] == "False"
    assert reason(shown(World(), ROLLING, before)) == "RollingUpdate", "all serve, some of an old template"


def test_a_new_template_that_breaks_is_told_with_its_cause() -> None:
    status = shown(World(absent=(NAMES[2],)), replace(ROLLING, problems=(PULL,)), shown(World()))
    assert (words(status)["Degraded"], reason(status)) == ("True", "ImagePullBackOff")


def test_a_rolling_change_stalls_only_between_two_steps() -> None:
    """The youngest pod was made four minutes before NOW: that was the last step."""
    status = shown(World(absent=(NAMES[2],)), ROLLING, shown(World()), age=-60 * MINUTE)
    assert reason(shown(World(absent=(NAMES[2],)), ROLLING, status)) == "RollingUpdate"
    assert reason(shown(World(absent=(NAMES[2],)), ROLLING, status, age=7 * MINUTE)) == "Stalled"


def test_a_requested_switchover_is_told_until_the_next() -> None:
    asked = SwitchoverOutcome("v1", False, "Failed", "why")
    change = Change(carried_out="v1", switchover=asked)
    first = shown(World(), replace(GOOD, change=change))
    assert (words(first)["Switchover"], reason(first, "Switchover")) == ("False", "Failed")
    assert first.patroni is not None
    assert first.patroni.status is not None
    assert first.patroni.status.switchover == "v1"
    later = shown(World(), replace(GOOD, change=replace(change, switchover=None)), first)
    assert message(later, "Switchover") == "why"
    assert "Switchover" not in words(shown(World()))


def test_a_deletion_names_the_pod_that_does_not_stop() -> None:
    def going(seconds: int) -> Manifest:
        pod = instance_pod(NAMES[0], deletionTimestamp=(NOW - timedelta(seconds=seconds)).isoformat())
        return pod | {"spec": {"nodeName": "node-b"}}

    def message(*pods: Manifest) -> str:
        return str(conditions.deleting(view().cluster, NOW, pods).conditions[0].message)

    assert message(going(-30), going(10), instance_pod(NAMES[1])) == "the cluster is being deleted"
    text = f"; pod {NAMES[0]}-0 on node node-b does not stop: if its node is gone, delete it with --force"
    assert message(going(31)) == "the cluster is being deleted" + text
