"""The mark by which a repository belongs to one cluster, with real pgBackRest and two database systems."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import scripts
from tests.support.local_postgres import binaries, identity

FOREIGN = 77
CIPHER = "repo{0}-cipher-type=aes-256-cbc\nrepo{0}-cipher-pass=a-long-passphrase\n"


@dataclass
class Database:
    """A running server; its clusters are told apart by their names."""

    folder: Path
    system: str = ""

    def sql(self, query: str) -> str:
        command = ("psql", "-XqAt", "-h", str(self.folder), "-U", "postgres", "-c", query, "postgres")
        return execute(command, self.folder).stdout.strip()


def execute(command: tuple[str, ...], folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": f"{binaries()}:/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": str(folder), **more}
    done: subprocess.CompletedProcess[str] = subprocess.run(  # type: ignore[call-overload]
        command,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        **identity(),
    )
    return done


def give(*paths: Path) -> None:
    """Give files to the account of the servers."""
    if os.getuid() == 0:
        account = pwd.getpwnam("postgres")
        for path in paths:
            os.chown(path, account.pw_uid, account.pw_gid)


@pytest.fixture(scope="module")
def databases() -> Iterator[dict[str, Database]]:
    found = {name: Database(Path(tempfile.mkdtemp(prefix=f"mark-{name}-"))) for name in ("one", "two")}
    for database in found.values():
        give(database.folder)
        data = str(database.folder / "pg")
        assert execute(("initdb", "--no-sync", "-D", data, "-U", "postgres"), database.folder).returncode == 0
        with (database.folder / "pg/postgresql.conf").open("a") as config:
            config.write(
                f"listen_addresses=''\nunix_socket_directories='{database.folder}'\nfsync=off\n"
                "archive_mode=on\narchive_command='pgbackrest --version'\n"
            )
        log = str(database.folder / "log")
        assert execute(("pg_ctl", "-w", "-D", data, "-l", log, "start"), database.folder).returncode == 0
        database.system = database.sql("SELECT system_identifier FROM pg_control_system()")
    yield found
    for database in found.values():
        execute(("pg_ctl", "-m", "immediate", "-D", str(database.folder / "pg"), "stop"), database.folder)
        shutil.rmtree(database.folder, ignore_errors=True)


@dataclass
class Site:
    """A cluster: a name, a database and repositories that other clusters may use as well."""

    folder: Path
    database: Database
    name: str
    uid: str = ""

    def __post_init__(self) -> None:
        self.uid = self.uid or f"uid-of-{self.name}"

    @property
    def owner(self) -> str:
        return f"team/{self.name}/{self.uid}/{self.database.system}"

    def configure(self, *repos: str, cipher: bool = False) -> None:
        text = "[global]\n"
        for number, repo in enumerate(repos, start=1):
            text += f"repo{number}-path={self.folder}/{repo}\n"
            text += CIPHER.format(number) if cipher else ""
        text += f"log-path={self.folder}\nlock-path={self.folder}/lock-{self.uid}\nstart-fast=y\n"
        text += f"archive-timeout=5\n[db]\npg1-path={self.database.folder}/pg\n"
        text += f"pg1-socket-path={self.database.folder}\npg1-user=postgres\n"
        (self.folder / f"{self.uid}.conf").write_text(text)
        (self.folder / "config-hash").write_text("h")

    def run(self, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
        return execute(
            command,
            self.folder,
            PGBACKREST_CONFIG=str(self.folder / f"{self.uid}.conf"),
            PGBACKREST_CONF=str(self.folder),
            TERMINATION_LOG=str(self.folder / "report"),
            TMPDIR=str(self.folder),
            SETTLE_SECONDS="0",
            INVENTORY_PAUSE="0",
            **more,
        )

    def script(self, name: str, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return self.run("bash", str(scripts.folder() / name), *arguments, **more)

    def stanza(self, *modes: str, **more: str) -> subprocess.CompletedProcess[str]:
        repos = [f"{number}:{mode}" for number, mode in enumerate(modes, start=1)]
        return self.script("pgbackrest-claim.sh", "h", self.owner, *repos, **more)

    def pgbackrest(self, *command: str) -> subprocess.CompletedProcess[str]:
        return self.run("pgbackrest", "--stanza=db", *command)

    def mark(self, repo: str = "shared") -> dict[str, str]:
        text = (self.folder / repo / "owner/db").read_text()
        return dict(line.split("=", 1) for line in text.splitlines())


@pytest.fixture
def folder() -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="mark-"))
    give(place)
    yield place
    shutil.rmtree(place, ignore_errors=True)


@pytest.fixture
def cipher() -> bool:
    """Whether the repository is encrypted."""
    return False


both = pytest.mark.parametrize("cipher", [False, True], ids=["plain", "encrypted"])


@pytest.fixture
def sites(cipher: bool, folder: Path, databases: dict[str, Database]) -> dict[str, Site]:
    """Clusters that all have the same path: one, its clone, and one with another database."""
    found = {
        "one": Site(folder, databases["one"], "one"),
        "clone": Site(folder, databases["one"], "clone"),
        "two": Site(folder, databases["two"], "two"),
        "replaced": Site(folder, databases["two"], "one", "uid-of-another"),
    }
    for site in found.values():
        site.configure("shared", cipher=cipher)
    return found


def succeeds(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stdout + done.stderr


def refused(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == FOREIGN, done.stdout + done.stderr
    return done.stderr


def systems(site: Site) -> str:
    return site.pgbackrest("--output=json", "info").stdout


@both
def test_the_first_cluster_marks_the_repository_and_others_are_refused(sites: dict[str, Site]) -> None:
    one, clone, two = sites["one"], sites["clone"], sites["two"]
    succeeds(one.stanza("new"))
    assert one.mark() == {
        "namespace": "team",
        "name": "one",
        "uid": one.uid,
        "system-identifier": one.database.system,
    }
    before = systems(one)
    # The system identifier of a clone is the same: pgBackRest alone would accept it.
    for other in (clone, two):
        for mode in ("new", "known"):
            message = refused(other.stanza(mode))
            assert message.startswith("repo1 is the repository of cluster team/one: ")
            assert f"of cluster team/{other.name}" in message
            assert "take-over-repository: repo1" in message
    assert one.mark()["name"] == "one"
    assert systems(one) == before
    succeeds(one.stanza("known"))


@both
def test_only_the_cluster_itself_backs_up_expires_and_deletes(sites: dict[str, Site]) -> None:
    one, clone = sites["one"], sites["clone"]
    succeeds(one.stanza("new"))
    for other in (clone, sites["two"]):
        for script, arguments in (
            ("pgbackrest-backup.sh", ("h", other.owner, "1", "u", "--type=full")),
            ("pgbackrest-expire.sh", ("h", other.owner, "1", "20260101-000000F")),
            ("pgbackrest-delete.sh", (other.owner, "1:known")),
        ):
            assert "cluster team/one" in refused(other.script(script, *arguments))
            assert "cluster team/one" in (other.folder / "report").read_text()
    assert one.pgbackrest("check").returncode != FOREIGN
    succeeds(one.script("pgbackrest-delete.sh", one.owner, "1:new"))
    assert not (one.folder / "shared/archive/db").exists()
    assert not (one.folder / "shared/owner/db").exists()
    succeeds(clone.stanza("new"))


@both
def test_a_repository_without_a_mark_needs_the_status_and_the_same_system(sites: dict[str, Site]) -> None:
    one, two = sites["one"], sites["two"]
    succeeds(one.pgbackrest("stanza-create"))
    assert one.database.system in refused(two.stanza("known"))
    for site in (one, two):
        assert "may be that of another cluster" in refused(site.stanza("new"))
    assert "another cluster" in refused(one.script("pgbackrest-delete.sh", one.owner, "1:new"))
    assert not (one.folder / "shared/owner/db").exists()
    succeeds(one.stanza("known"))
    assert one.mark()["name"] == "one"


def test_the_same_name_with_another_database_would_expire_the_former_backups(sites: dict[str, Site]) -> None:
    one, replaced = sites["one"], sites["replaced"]
    succeeds(one.stanza("new"))
    assert "former database of cluster team/one" in refused(replaced.stanza("new"))
    assert one.mark()["uid"] == one.uid
    again = Site(one.folder, one.database, "one", "uid-of-the-next")
    again.configure("shared")
    succeeds(again.stanza("new"))
    assert one.mark()["uid"] == "uid-of-the-next"
    # The status shows that this cluster had the stanza: its database was restored or upgraded.
    succeeds(replaced.stanza("known"))
    assert one.mark()["system-identifier"] == replaced.database.system
    assert replaced.database.system in systems(one)


def test_the_own_uid_is_as_good_as_the_status(sites: dict[str, Site]) -> None:
    one = sites["one"]
    succeeds(one.stanza("new"))
    upgraded = Site(one.folder, sites["two"].database, "one", one.uid)
    upgraded.configure("shared")
    succeeds(upgraded.stanza("new"))
    assert one.mark()["system-identifier"] == upgraded.database.system


def test_a_user_can_give_a_repository_to_another_cluster(sites: dict[str, Site]) -> None:
    one, two = sites["one"], sites["two"]
    succeeds(one.stanza("new"))
    succeeds(two.stanza("take"))
    assert two.mark()["name"] == "two"
    assert two.database.system in systems(two)
    assert "cluster team/two" in refused(one.stanza("known"))


def test_a_script_that_ended_between_mark_and_stanza_goes_on(sites: dict[str, Site]) -> None:
    one, clone = sites["one"], sites["clone"]
    path = instead(one.folder, 'case "$*" in *" stanza-"*) kill -9 $PPID; exit ;; esac')
    assert one.stanza("new", PATH=path).returncode != 0
    assert not (one.folder / "shared/archive").exists()
    refused(clone.stanza("new"))
    succeeds(one.stanza("new"))
    assert (one.folder / "shared/archive/db/archive.info").exists()


def test_of_two_clusters_that_find_a_free_repository_the_later_one_has_it(sites: dict[str, Site]) -> None:
    one, clone = sites["one"], sites["clone"]
    later = f"namespace=team\\nname=clone\\nuid={clone.uid}\\nsystem-identifier={clone.database.system}\\n"
    path = instead(
        one.folder,
        f'case "$*" in *repo-put*) /usr/bin/pgbackrest "$@"; printf "{later}" >shared/owner/db; exit ;; esac',
    )
    assert "repo1 is the repository of cluster team/clone" in refused(one.stanza("new", PATH=path))
    assert not (one.folder / "shared/archive").exists()
    succeeds(clone.stanza("new"))


def test_a_stanza_that_appears_meanwhile_is_not_upgraded(sites: dict[str, Site]) -> None:
    """It is that of a cluster that looked at the same time, and was faster."""
    one, two = sites["one"], sites["two"]
    other = f"PGBACKREST_CONFIG={two.folder}/{two.uid}.conf /usr/bin/pgbackrest --stanza=db"
    path = instead(one.folder, f'case "$*" in *repo-put*) {other} stanza-create ;; esac')
    assert one.stanza("new", PATH=path).returncode not in (0, FOREIGN)
    assert one.database.system not in systems(two)
    assert two.database.system in refused(one.stanza("new"))


def instead(folder: Path, commands: str) -> str:
    """A search path with a pgBackRest that first runs these commands."""
    place = folder / "instead"
    place.mkdir()
    (place / "pgbackrest").write_text(f'#!/bin/bash\n{commands}\nexec /usr/bin/pgbackrest "$@"\n')
    (place / "pgbackrest").chmod(0o755)
    return f"{place}:{binaries()}:/usr/bin:/bin"


def test_nothing_is_written_if_one_of_several_repositories_is_refused(
    folder: Path, databases: dict[str, Database]
) -> None:
    one, two = Site(folder, databases["one"], "one"), Site(folder, databases["two"], "two")
    one.configure("shared")
    two.configure("own", "shared")
    succeeds(one.stanza("new"))
    assert refused(two.stanza("new", "new")).startswith("repo2 is the repository of cluster team/one: ")
    assert not (folder / "own").exists()


@pytest.mark.parametrize("damage", ["unreadable", "malformed"])
def test_a_mark_that_cannot_be_read_is_not_a_missing_one(
    folder: Path, databases: dict[str, Database], damage: str
) -> None:
    one, two = Site(folder, databases["one"], "one"), Site(folder, databases["two"], "two")
    for site in (one, two):
        site.configure("shared")
    succeeds(one.stanza("new"))
    mark = folder / "shared/owner/db"
    if damage == "malformed":
        mark.write_text("name=one\n")
    elif os.getuid() == 0:
        os.chown(mark.parent, 0, 0)
        mark.parent.chmod(0o700)
    else:
        mark.parent.chmod(0o000)
    before = (folder / "shared/archive/db/archive.info").read_bytes()
    for site, mode in ((one, "known"), (two, "new"), (two, "take")):
        done = site.stanza(mode)
        assert done.returncode not in (0, FOREIGN)
        assert "the mark of its cluster" in done.stderr
    assert (folder / "shared/archive/db/archive.info").read_bytes() == before


def test_a_repository_that_was_copied_for_a_cluster_is_its_own(sites: dict[str, Site]) -> None:
    """adopt.sh leaves a mark without a system."""
    one, two = sites["one"], sites["two"]
    succeeds(one.pgbackrest("stanza-create"))
    marks = one.folder / "shared/owner"
    marks.mkdir()
    (marks / "db").write_text(f"namespace=team\nname=two\nuid={two.uid}\nsystem-identifier=\n")
    give(marks, marks / "db")
    succeeds(two.stanza("new"))
    assert two.mark()["system-identifier"] == two.database.system


def test_a_repository_that_lost_its_content_is_made_again(sites: dict[str, Site]) -> None:
    """The mark goes with a new volume, or an emptied bucket."""
    one = sites["one"]
    assert without_backup(one.stanza("new")) == ["1"]
    for mode in ("known", "new"):
        shutil.rmtree(one.folder / "shared")
        assert without_backup(one.stanza(mode)) == ["1"]
        assert one.mark()["name"] == "one"
        assert one.database.system in systems(one)


def test_an_encrypted_repository_without_its_passphrase_is_an_error(sites: dict[str, Site]) -> None:
    """pgBackRest quotes the encrypted file in its message."""
    one = sites["one"]
    one.configure("shared", cipher=True)
    succeeds(one.stanza("new"))
    one.configure("shared")
    for mode in ("known", "new", "take"):
        done = one.stanza(mode)
        assert done.returncode not in (0, FOREIGN)
        assert "ERROR: repo1 cannot be read: [" in done.stderr


def test_a_stanza_of_which_half_is_missing_is_an_error(sites: dict[str, Site]) -> None:
    """It is left for the user: the other half has backups, or WAL."""
    one = sites["one"]
    succeeds(one.stanza("new"))
    shutil.rmtree(one.folder / "shared/archive")
    done = one.stanza("known")
    assert done.returncode not in (0, FOREIGN)
    assert "archive.info" in done.stderr
    assert not (one.folder / "shared/archive").exists()


def test_a_repository_with_a_backup_is_not_reported_as_empty(sites: dict[str, Site]) -> None:
    one = sites["one"]
    succeeds(one.stanza("new"))
    succeeds(one.pgbackrest("--no-archive-check", "backup"))
    assert without_backup(one.stanza("known")) == []


def without_backup(done: subprocess.CompletedProcess[str]) -> list[str]:
    succeeds(done)
    word, _, repos = done.stdout.splitlines()[-1].partition(":")
    assert word == "without-backup"
    return repos.split()


def test_another_configuration_is_waited_for(folder: Path, databases: dict[str, Database]) -> None:
    one = Site(folder, databases["one"], "one")
    one.configure("shared")
    (folder / "config-hash").write_text("another")
    assert one.stanza("new").returncode == 75
    assert not (folder / "shared").exists()
