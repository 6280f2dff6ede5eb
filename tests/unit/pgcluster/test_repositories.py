"""A repository belongs to one cluster: what the operator does before and after the mark has been checked."""

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from pgoperator import labels
from pgoperator.errors import CommandFailed
from pgoperator.kube.manifest import Manifest
from pgoperator.postgres import pgbackrest
from reconcilers.pgcluster.backups import (
    act_backups,
    act_stanza,
    build_backup_status,
    build_repo_host,
    inventory,
)
from reconcilers.pgcluster.backups import conditions as backup_conditions
from reconcilers.pgcluster.lifecycle import act_backup_cleanup
from reconcilers.pgcluster.patroni import build_dynamic_config
from reconcilers.pgcluster.state import repositories
from reconcilers.pgcluster.state.view import View
from tests.support.views import filled_store, view
from tests.unit.pgcluster.observed import claim, repo_host_pod
from tests.unit.pgcluster.test_archive import backup, serving

SYSTEM = "7710542513363218479"


def seen(
    *,
    stanza: Manifest | None = None,
    system: str = SYSTEM,
    annotation: str = "",
    options: dict[str, str] | None = None,
) -> View:
    """A serving cluster; `stanza` is what its status has about repo1, `options` are those in `global`."""
    status: Manifest = {"patroni": {"status": {"systemIdentifier": system}}}
    if stanza is not None:
        status["pgbackrest"] = {"repos": [{"name": "repo1"} | stanza]}
    one: View = serving(status)
    if options:
        pgbackrest_spec = one.cluster.spec.backups.pgbackrest.model_copy(update={"global_options": options})
        backups = one.cluster.spec.backups.model_copy(update={"pgbackrest": pgbackrest_spec})
        spec = one.cluster.spec.model_copy(update={"backups": backups})
        one = replace(one, cluster=one.cluster.model_copy(update={"spec": spec}))
    if annotation:
        metadata = one.cluster.metadata.model_copy(
            update={"annotations": {labels.TAKE_OVER_REPOSITORY: annotation}}
        )
        one = replace(one, cluster=one.cluster.model_copy(update={"metadata": metadata}))
    return one


def recorded(one: View, **more: Any) -> Manifest:
    digest = repositories.digest(one)
    return {"stanzaCreated": True, "repoOptionsHash": digest, "systemIdentifier": SYSTEM, **more}


def archives(one: View) -> str:
    """The digest of the repositories into which PostgreSQL archives."""
    config = build_dynamic_config.dynamic_configuration(one)
    return str(config["postgresql"]["parameters"]["archive_command"]).split()[-1]


def reads_archive(one: View) -> bool:
    config_map = next(m for m in build_repo_host.desired(one) if m["kind"] == "ConfigMap")
    return "# unconfirmed" not in config_map["data"]["pgbackrest_instance.conf"].splitlines()


def test_nothing_is_archived_before_the_mark_has_been_checked() -> None:
    new = seen()
    assert (repositories.known(new), repositories.is_checked(new)) == (None, False)
    assert archives(new) == pgbackrest.UNCONFIRMED
    assert not reads_archive(new)
    checked = seen(stanza=recorded(new))
    assert repositories.is_checked(checked)
    assert archives(checked) == repositories.digest(new)
    assert reads_archive(checked)


def test_another_path_is_another_repository() -> None:
    before = seen(stanza=recorded(seen()))
    moved = seen(stanza=recorded(seen()), options={"repo1-path": "/pgbackrest/team/cluster1"})
    assert repositories.digest(moved) != repositories.digest(before)
    assert archives(moved) == pgbackrest.UNCONFIRMED
    assert not repositories.is_checked(moved)
    kept = seen(stanza=recorded(seen()), options={"repo1-retention-full": "2"})
    assert repositories.is_checked(kept)


def test_the_first_backup_is_taken_again_at_another_path() -> None:
    before, moved = seen(), seen(options={"repo1-path": "/pgbackrest/team/cluster1"})
    names = {inventory.first_name(one, inventory.NO_BACKUPS) for one in (before, moved)}
    assert len(names) == 2


def test_another_database_system_is_checked_again_but_still_archives() -> None:
    """A restore from another system, or a major upgrade: the stanza has to be upgraded."""
    upgraded = seen(stanza=recorded(seen()), system="7")
    assert not repositories.is_checked(upgraded)
    assert archives(upgraded) == repositories.digest(upgraded)


def test_the_status_of_another_operator_is_checked_while_archiving_goes_on() -> None:
    adopted = seen(stanza={"stanzaCreated": True, "repoOptionsHash": "of-percona"})
    assert not repositories.is_checked(adopted)
    assert archives(adopted) == repositories.digest(adopted)
    assert repositories.history(adopted, "repo1") == "known"


def test_the_script_gets_the_cluster_and_what_is_known_of_each_repository() -> None:
    for one, mode in (
        (seen(), "new"),
        (seen(stanza=recorded(seen())), "known"),
        (seen(annotation="repo2, repo1"), "take"),
        (seen(annotation="repo2"), "new"),
    ):
        _, script, digest, owner, *repos = act_stanza.command(one)
        assert script.endswith("/pgbackrest-claim.sh")
        assert (digest, owner) == (repositories.digest(one), f"ns1/cluster1/uid-1/{SYSTEM}")
        assert repos == [f"1:{mode}"]


async def attempt(one: View, error: CommandFailed | None, output: str = "") -> act_stanza.StanzaResult:
    async def execute(*_: Any, **__: Any) -> str:
        if error is not None:
            raise error
        return output

    ctx: Any = SimpleNamespace(client=SimpleNamespace(exec=execute))
    found = replace(one, observed=replace(one.observed, repo_host_pod=repo_host_pod()))
    return await act_stanza.act(ctx, found, ready=True)


def failed(code: int, message: str) -> CommandFailed:
    return CommandFailed("pgbackrest-claim.sh", code, message)


async def test_success_is_recorded_with_the_database_system() -> None:
    one = seen()
    result = await attempt(one, None)
    assert (result.tried, result.digest, result.checked) == (True, repositories.digest(one), True)
    known = inventory.book(one, [])
    status = build_backup_status.status(one, known, result.digest, [], checked=result.checked)
    assert status is not None
    assert status.repos[0].system_identifier == SYSTEM
    again = seen(stanza=status.repos[0].to_manifest())
    assert repositories.is_checked(again)
    later = build_backup_status.status(again, known, repositories.known(again), [])
    assert later is not None
    assert later.repos[0].system_identifier == SYSTEM


REFUSAL = "repo1 is the repository of cluster team/one: set another repo1-path of cluster ns1/cluster1"


@pytest.mark.parametrize("known", [False, True])
async def test_a_refusal_ends_archiving_and_names_both_clusters(known: bool) -> None:
    one = seen(stanza=recorded(seen(), systemIdentifier=None) if known else None)
    result = await attempt(one, failed(act_stanza.FOREIGN, REFUSAL))
    assert (result.digest, result.checked) == (None, False)
    assert result.problem is not None
    books = inventory.book(one, [])
    findings = backup_conditions.conditions(one, books, result.digest, result.problem)
    finding = next(f for f in findings if f.type == "PGBackRestReplicaRepoReady")
    assert (finding.status, finding.reason) == (False, "RepositoryOfAnotherCluster")
    assert "cluster team/one" in finding.message
    assert "ns1/cluster1" in finding.message
    # The next pass is at hand if it has to end archiving, else a change of this cluster starts it.
    assert result.waits[0].seconds == (1 if known else act_stanza.FOREIGN_SECONDS)
    status = build_backup_status.status(one, books, result.digest, [])
    assert status is not None
    assert archives(seen(stanza=status.repos[0].to_manifest())) == pgbackrest.UNCONFIRMED


@pytest.mark.parametrize("code", [1, 39, *act_stanza.NOT_MOUNTED])
async def test_an_error_shows_nothing_about_a_stanza_that_is_recorded(code: int) -> None:
    """It would be refused afterwards: a stanza without a mark needs the status."""
    one = seen(stanza=recorded(seen(), systemIdentifier=None))
    result = await attempt(one, failed(code, "ERROR: [039]: forbidden"))
    assert result.digest == repositories.digest(one)
    assert not result.checked
    new = await attempt(seen(), failed(code, "ERROR: [039]: forbidden"))
    assert (new.digest, new.checked) == (None, False)


async def test_nothing_runs_while_the_database_system_is_unknown() -> None:
    assert not (await attempt(seen(system=""), failed(1, "must not run"))).tried


def test_the_deletion_of_backups_names_the_cluster_and_its_history() -> None:
    for one, mode in (
        (seen(), "new"),
        (seen(stanza=recorded(seen())), "known"),
        (seen(annotation="repo1"), "new"),
    ):
        _, _, owner, *repos = act_backup_cleanup._command(one)
        assert owner == f"ns1/cluster1/uid-1/{SYSTEM}"
        assert repos == [f"1:{mode}"]


SINCE = "2026-01-02T03:00:00Z"
MISSING = (
    "[103]: unable to find a valid repository: repo1: [FileMissingError] unable to load info file "
    "'/pgbackrest/repo1/archive/db/archive.info' or '/pgbackrest/repo1/archive/db/archive.info.copy':"
)
FORBIDDEN = "[103]: unable to find a valid repository: repo1: [ProtocolError] 403 (Forbidden)"


def with_volume(one: View, volume: str) -> View:
    return replace(one, observed=replace(one.observed, repo_volumes={"repo1": volume}))


def test_a_new_volume_behind_the_claim_needs_its_stanza() -> None:
    kept = seen(stanza=recorded(seen(), volume="pv-1"))
    assert repositories.is_checked(with_volume(kept, "pv-1"))
    # A claim that is not seen, or not bound, shows nothing.
    assert repositories.is_checked(kept)
    assert repositories.is_checked(with_volume(kept, ""))
    lost = with_volume(kept, "pv-2")
    assert (repositories.known(lost), repositories.history(lost, "repo1")) == (None, "new")
    assert archives(lost) == pgbackrest.UNCONFIRMED


def test_the_claims_of_repositories_are_observed_by_name() -> None:
    own = {labels.PGBACKREST_REPO: "repo1", labels.PGBACKREST_VOLUME: ""}
    claims = [claim("cluster1-repo1", own), claim("a-copy", own)]
    for one, volume in zip(claims, ("pv-1", "pv-2"), strict=True):
        one["spec"] = {"volumeName": volume}
    assert view(claims).observed.repo_volumes == {"repo1": "pv-1"}


@pytest.mark.parametrize(
    ("cause", "created", "lost"),
    [
        (MISSING, "2026-01-02T02:00:00Z", True),
        (MISSING.replace("repo1:", "repo2:"), "2026-01-02T02:00:00Z", False),
        (FORBIDDEN, "2026-01-02T02:00:00Z", False),
        (MISSING, "2026-01-02T03:00:01Z", False),
    ],
)
def test_wal_that_finds_no_stanza_shows_that_it_was_lost_since(cause: str, created: str, lost: bool) -> None:
    stanza = {
        "type": "PGBackRestReplicaRepoReady",
        "status": "True",
        "reason": "StanzaCreated",
        "message": "",
    }
    status = {
        "patroni": {"status": {"systemIdentifier": SYSTEM}},
        "pgbackrest": {"repos": [{"name": "repo1"} | recorded(seen())]},
        "conditions": [stanza | {"lastTransitionTime": created}],
    }
    one = serving(status, **{"archive-failure": json.dumps({"since": SINCE, "cause": cause})})
    assert (repositories.known(one) is None) is lost


async def test_the_command_reports_repositories_without_backups() -> None:
    assert (await attempt(seen(), None, "P00   INFO: x\nwithout-backup: 1 3\n")).empty == ("repo1", "repo3")
    assert (await attempt(seen(), None, "without-backup:\n")).empty == ()


@pytest.mark.parametrize("empty", [(), ("repo1",), ("repo2",)])
async def test_a_repository_that_lost_its_backups_gets_a_first_backup_again(empty: tuple[str, ...]) -> None:
    one = seen(stanza=recorded(seen()))
    first = backup(inventory.first_name(one, inventory.NO_BACKUPS))
    first["metadata"]["labels"] = labels.of_cluster("cluster1")
    first["metadata"]["annotations"] = {labels.BACKUP_JOB_TYPE: "replica-create"}
    marked: list[str] = []
    events: list[Manifest] = []

    async def merge_patch(_kind: Any, _namespace: str, name: str, patch: Manifest) -> None:
        assert patch == {"metadata": {"annotations": {labels.SUPERSEDED: "true"}}}
        marked.append(name)

    ctx: Any = SimpleNamespace(
        client=SimpleNamespace(merge_patch=merge_patch),
        store=filled_store([{"apiVersion": "pgv2.percona.com/v2", "kind": "PerconaPGBackup"} | first]),
        events=SimpleNamespace(event=lambda _manifest, **event: events.append(event)),
    )
    await act_backups.replace_lost(ctx, one, inventory.book(one, [first]), empty)
    assert marked == ([first["metadata"]["name"]] if empty == ("repo1",) else [])
    assert [event["reason"] for event in events] == (["BackupsLost"] if empty == ("repo1",) else [])


def test_options_that_are_no_place_change_nothing() -> None:
    options = {"repo1-path": "/a", "repo2-path": "/b", "repo1-retention-full": "2", "repo1-s3-bucket": "x"}
    assert pgbackrest.place("repo1", options) == (("repo1-path", "/a"), ("repo1-s3-bucket", "x"))
