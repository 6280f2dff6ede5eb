"""Failing repositories: the database runs on, a condition shows the cause, and no WAL is lost."""

import base64
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.support import faults, s3_faults
from tests.support.backups import backup, first_backup, in_repository
from tests.support.clusters import Cluster, example
from tests.support.disks import disk
from tests.support.kubectl import until
from tests.support.output import emit
from tests.support.restores import Restore
from tests.support.s3 import KEY_SECRET, S3, SECRET

NAME = "tough"
CONDITION = "ArchivingFailing"


@pytest.fixture(scope="module")
def cluster(new_cluster: Callable[..., Cluster], s3: S3, store: s3_faults.Proxy) -> Cluster:
    """A single instance that archives to a volume and to S3."""
    manifest = example(NAME, instances=1, poolers=1)
    s3.add_repo(manifest, "repo2", "/tough")
    made = new_cluster(manifest)
    made.apply()
    made.wait_ready()
    first_backup(made)
    backup(made, "to-s3", "--type=full", repo="repo2")
    made.psql("CREATE TABLE kept (n bigserial, what text)")
    return made


def write(cluster: Cluster, what: str, rows: int = 100) -> str:
    """Write rows and switch the WAL segment; return its name."""
    cluster.psql(f"INSERT INTO kept (what) SELECT '{what}' FROM generate_series(1, {rows})")
    return cluster.psql("SELECT pg_walfile_name(pg_switch_wal())")


def failing(cluster: Cluster) -> str:
    """The condition's message, or "" without the condition."""
    found = cluster.condition(CONDITION)
    return str(found.get("message", "")) if found.get("status") == "True" else ""


def archived(cluster: Cluster, wal: str) -> bool:
    return cluster.psql(f"SELECT last_archived_wal >= '{wal}' FROM pg_stat_archiver") == "t"


def repo(cluster: Cluster, number: int) -> dict[str, object]:
    found: dict[str, object] = cluster.cr()["status"]["pgbackrest"]["repos"][number - 1]
    return found


def moment(cluster: Cluster) -> tuple[int, str]:
    """The number of rows, and a time that lies before any later write."""
    count = int(cluster.psql("SELECT count(*) FROM kept"))
    noted = cluster.psql("SELECT clock_timestamp() FROM pg_sleep(0.1)")
    cluster.psql("SELECT pg_sleep(0.1)")
    return count, noted


def goes_back(cluster: Cluster, name: str, repo: str, count: int, noted: str) -> None:
    """Restore to a time; rows from before exist, later rows do not."""
    Restore(cluster, name, ("--type=time", f'--target="{noted}"'), repo=repo).apply().wait("Succeeded", 300)
    cluster.wait_ready()
    assert cluster.psql("SELECT count(*), count(DISTINCT n) FROM kept") == f"{count}|{count}"
    assert cluster.psql("SELECT count(*) FROM kept WHERE what = 'too late'") == "0"


def is_named(cluster: Cluster, what: str, *words: str) -> None:
    """Rows can be written during the failure, and the condition contains one of the words."""
    began = time.monotonic()
    write(cluster, what)

    def said() -> bool:
        return any(word in failing(cluster) for word in words)

    until(f"the condition contains {words}", said, 300, lambda: failing(cluster) + cluster.explain(), 1)
    emit(f"{what}: condition after {time.monotonic() - began:.0f} s: {failing(cluster)[:300]}")
    write(cluster, what)
    assert cluster.condition("Ready")["status"] == "True", "the database is well"


def resumes(cluster: Cluster, what: str) -> None:
    """The archive catches up and the condition disappears without intervention."""
    began = time.monotonic()
    wal = write(cluster, f"after {what}", 1)
    until("WAL is archived", lambda: archived(cluster, wal), 240, cluster.explain, 1)
    until("the condition goes", lambda: not failing(cluster), 60, cluster.explain)
    emit(f"{what}: archiving resumed after {time.monotonic() - began:.0f} s")

    def healthy() -> bool:
        return all(repo(cluster, number)["reachable"] is True for number in (1, 2))

    until("both repositories are reachable", healthy, 60, cluster.explain)


def test_the_health_of_repositories(cluster: Cluster) -> None:
    resumes(cluster, "nothing")
    volume = repo(cluster, 1)
    assert 0 < int(str(volume["freeBytes"])) <= int(str(volume["capacityBytes"]))
    assert volume["measured"]
    assert volume["lastPushed"]
    assert "freeBytes" not in repo(cluster, 2)


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("403", ("403 (Forbidden)",)),
        pytest.param("500", ("[500] Internal Server Error",), marks=pytest.mark.long),
        ("silent", ("[",)),
    ],
)
def test_s3_that_does_not_take_wal(
    cluster: Cluster, store: s3_faults.Proxy, mode: s3_faults.Mode, words: tuple[str, ...]
) -> None:
    store.become(mode)
    try:
        is_named(cluster, mode, *words)
        assert repo(cluster, 1)["reachable"] is True
    finally:
        store.become("pass")
    resumes(cluster, mode)


def test_s3_that_is_slow_is_no_failure(cluster: Cluster, store: s3_faults.Proxy) -> None:
    store.become("slow")
    try:
        wal = write(cluster, "slow")
        until("WAL is archived", lambda: archived(cluster, wal), 120, cluster.explain, 1)
        assert not failing(cluster)
    finally:
        store.become("pass")


def test_a_store_that_refuses_the_key_is_named_until_it_is_mended(
    new_cluster: Callable[..., Cluster], s3: S3, store: s3_faults.Proxy
) -> None:
    """pgBackRest prints the error on standard output: the condition and a waiting backup contain it."""
    store.become("pass")
    manifest = example("mistaken", instances=1, poolers=1)
    settings = manifest["spec"]["backups"]["pgbackrest"]
    settings["repos"] = [s3.repo("repo1")]
    settings["configuration"] = [{"secret": {"name": "mistaken"}}]
    settings["global"] = s3.options("repo1", "/mistaken")
    made = new_cluster(manifest)
    found = made.kubectl.get("secret", SECRET)
    files = {name: base64.b64decode(value).decode() for name, value in found["data"].items()}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mistaken"}}
    wrong = files | {"s3.conf": files["s3.conf"].replace(KEY_SECRET, "hunter2")}
    made.kubectl.apply(secret | {"stringData": wrong})
    made.apply()
    kind = "PGBackRestReplicaRepoReady"

    def said() -> Any:
        return (c := made.condition(kind)).get("reason") == "StanzaFailed" and c["message"]

    message = until("the condition shows the cause", said, 150, made.explain)
    emit(f"a wrong key: {message}")
    assert "ERROR: [" in message
    assert "403 (Forbidden)" in message
    assert "hunter2" not in message
    assert made.condition("ReadyForBackup")["reason"] == kind
    made.wait_ready()
    made.kubectl.apply(secret | {"stringData": files})

    def created() -> bool:
        return made.condition(kind).get("status") == "True"

    until("the stanza is made", created, 240, made.explain)
    first_backup(made)


def test_a_repository_that_lost_its_content_gets_a_stanza_and_a_full_backup(
    new_cluster: Callable[..., Cluster],
) -> None:
    made = new_cluster(example("emptied", instances=1, poolers=1))
    made.apply()
    made.wait_ready()
    former = first_backup(made)
    empty = "rm -rf /pgbackrest/repo1/{archive,backup,owner}"
    made.kubectl.exec(f"{made.name}-repo-host-0", "bash", "-c", empty, container="pgbackrest")
    made.psql("CREATE TABLE later (n int)")
    made.psql("SELECT pg_switch_wal()")
    until("there is another backup", lambda: in_repository(made) - {former}, 240, made.explain)

    def archives() -> bool:
        return not failing(made) and made.condition("PGBackRestReplicaCreate").get("status") == "True"

    until("the condition agrees", archives, 120, made.explain)


def space(cluster: Cluster) -> str:
    """The reason of the condition about free space in repositories, or "" without the condition."""
    found = cluster.condition("RepositorySpaceLow")
    return str(found["reason"]) if found.get("status") == "True" else ""


def test_a_repository_that_is_full_and_no_wal_is_lost(new_cluster: Callable[..., Cluster]) -> None:
    manifest = example("full", instances=1, poolers=1)
    with disk(new_cluster().kubectl, 256) as small:
        repo = manifest["spec"]["backups"]["pgbackrest"]["repos"][0]
        repo["volume"] = {"volumeClaimSpec": small.claim()}
        made = new_cluster(manifest)
        made.apply()
        made.wait_ready()
        first_backup(made)
        made.psql("CREATE TABLE kept (n bigserial, what text)")
        assert space(made) == ""
        small.fill()
        # Random bytes, which pgBackRest cannot compress.
        rows = "INSERT INTO kept (what) SELECT md5(random()::text) FROM generate_series(1, 50000)"
        made.psql(rows)
        write(made, "while it is full")
        until("the condition names it", lambda: space(made) == "RepositoryFull", 240, made.explain, 1)
        emit(f"full: {failing(made)[:400]}")
        assert "No space left on device" in failing(made)
        write(made, "while it is full")
        assert made.condition("Ready")["status"] == "True", "the database is well"
        kept = int(made.psql("SELECT count(*) FROM kept"))
        noted = made.psql("SELECT clock_timestamp() FROM pg_sleep(0.1)")
        made.psql("SELECT pg_sleep(0.1)")
        wal = write(made, "too late")
        small.free()
        until("WAL is archived", lambda: archived(made, wal), 240, made.explain, 1)
        until("the condition goes", lambda: not space(made) and not failing(made), 60, made.explain)
        small.fill(leave=16 << 20)
        backup(made, "little-room", "--type=incr")
        until("the condition shows SpaceLow", lambda: space(made) == "SpaceLow", 30, made.explain)
        small.free()
        backup(made, "room-again", "--type=incr")
        until("the condition goes", lambda: not space(made), 30, made.explain)
        Restore(made, "across-full", ("--type=time", f'--target="{noted}"')).apply().wait("Succeeded", 300)
        made.wait_ready()
        assert made.psql("SELECT count(*), count(DISTINCT n) FROM kept") == f"{kept}|{kept}"
        assert made.psql("SELECT count(*) FROM kept WHERE what = 'too late'") == "0"


def test_no_wal_is_lost_when_s3_fails_while_it_is_archived(cluster: Cluster, store: s3_faults.Proxy) -> None:
    """Restore the backup from before all faults above, and recover across them and one more."""
    store.become("500")
    try:
        is_named(cluster, "500 again", "[")
        count, noted = moment(cluster)
        write(cluster, "too late")
    finally:
        store.become("pass")
    resumes(cluster, "500 again")
    goes_back(cluster, "across-s3", "repo2", count, noted)

    def again() -> bool:
        return cluster.condition("ReadyForBackup").get("status") == "True"

    until("a new first backup is complete", again, 180, cluster.explain)


def test_a_repository_host_that_is_cut_off_and_no_wal_is_lost(cluster: Cluster) -> None:
    with faults.repository_host_cut_off(cluster):
        is_named(cluster, "cut off", "[")
        count, noted = moment(cluster)
        write(cluster, "too late")
    resumes(cluster, "cut off")
    goes_back(cluster, "across", "repo1", count, noted)
