"""pgBackRest itself serves a repository to a new cluster in another namespace, and nothing more."""

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pgoperator import pki
from pgoperator.kube.manifest import Manifest
from pgoperator.postgres import pgbackrest
from tests.support.views import NAMESPACE
from tests.unit.pgrestore import test_source as world

PROGRAM = shutil.which("pgbackrest")
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="needs pgbackrest")


PORTS = {
    "~postgres-operator_server.conf": "tls-server-port",
    "pgbackrest_instance.conf": "repo1-host-port",
}


def write(folder: Path, files: Mapping[str, str], root: Path, port: int) -> None:
    """Write files as kubelet would mount them, with the folder and port of this test."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = content.replace("/etc/pgbackrest", str(root)).replace("= 0.0.0.0", "= 127.0.0.1")
        option = PORTS.get(name)
        added = f"[global]\n{option} = {port}" if option else "[global]"
        path.write_text(text.replace("[global]", added, 1), encoding="utf-8")
        path.chmod(0o600)


def mounted(job: Manifest, secret: Manifest) -> dict[str, dict[str, str]]:
    """Name of a volume of the server -> its files."""
    volumes = job["spec"]["template"]["spec"]["volumes"]
    return {
        volume["name"]: {
            item["path"]: secret["stringData"][item["key"]]
            for source in volume["projected"]["sources"]
            for item in source["secret"]["items"]
        }
        for volume in volumes
        if "projected" in volume
    }


class Place:
    """The repository, the server's and the client's folders."""

    def __init__(self, root: Path) -> None:
        self.root, self.repo = root, root / "repo"
        (self.repo / "backup/db").mkdir(parents=True)
        (self.repo / "backup/db/backup.info").write_text("of the source")
        client = world.Client(*world.objects(NAMESPACE))
        cluster = next(m for k, m in client.objects.items() if k.kind == "PerconaPGCluster")
        cluster["spec"]["backups"]["pgbackrest"]["global"]["repo1-path"] = str(self.repo)
        now = datetime.now(UTC)
        world.create(client, world.bootstrap(), now=now, repoName="repo1", waits="to serve repo1")
        self.job, secret = client.created
        world.ready(client)
        world.create(client, world.bootstrap(), now=now, repoName="repo1")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        for volume, files in mounted(self.job, secret).items():
            folder = {"pgbackrest-config": "conf.d", "pgbackrest-server": "server"}[volume]
            write(root / "server" / folder, files, root / "server", self.port)
        write(root / "client/conf.d", world.copied(client), root / "client", self.port)
        pod = self.job["spec"]["template"]["spec"]
        host = f"{pod['hostname']}.{pod['subdomain']}.{world.THEIRS}.svc"
        (root / "empty.conf").touch()
        (root / "hosts").write_text(f"127.0.0.1 localhost {host}\n")

    def command(self, side: str, *words: str) -> list[str]:
        """A command in a mount namespace where the server has its name, and the repository is read-only."""
        setup = (
            'mount --bind "$0/hosts" /etc/hosts; mount --bind "$0/repo" "$0/repo"; '
            'mount -o remount,ro,bind "$0/repo"; exec "$@"'
        )
        unshare = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
        options = [f"--config={self.root}/empty.conf", f"--config-include-path={self.root}/{side}/conf.d"]
        return [*unshare, "bash", "-ec", setup, str(self.root), str(PROGRAM), *options, *words]

    def ask(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        command = self.command("client", "--stanza=db", "--repo=1", *words)
        return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=60)


@contextmanager
def serving(made: Place) -> Iterator[None]:
    command = made.command("server", "server")
    with (made.root / "log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", made.port), timeout=1).close()
            break
        except OSError:
            time.sleep(0.1)
    try:
        yield
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(20)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    with serving(made):
        yield made


def test_the_new_cluster_reads_the_repository_and_cannot_write_it(place: Place) -> None:
    listed = place.ask("repo-ls", "backup/db")
    assert listed.stdout.split() == ["backup.info"], (listed, (place.root / "log").read_text())
    assert place.ask("repo-get", "backup/db/backup.info").stdout == "of the source"
    refused = place.ask("repo-put", "backup/db/other", stdin="mine")
    assert refused.returncode != 0
    assert "Read-only file system" in refused.stderr + refused.stdout
    assert [path.name for path in (place.repo / "backup/db").iterdir()] == ["backup.info"]


def test_only_the_certificate_of_this_restore_is_accepted(place: Place) -> None:
    """The name of the client alone is not enough: anybody can make an authority."""
    now = datetime.now(UTC)
    mine = pki.issue(pki.new_ca("pgoperator clone", now), common_name="clone@u", now=now, server=False)
    folder = place.root / "client/conf.d"
    (folder / "client-tls.crt").write_bytes(mine.cert)
    (folder / "client-tls.key").write_bytes(mine.key)
    refused = place.ask("repo-get", "backup/db/backup.info")
    assert refused.returncode != 0
    assert "of the source" not in refused.stdout


@pytest.mark.parametrize("stanza", ["*", "db"])
def test_a_cluster_asks_its_own_host_without_naming_the_stanza(tmp_path: Path, stanza: str) -> None:
    """As people do in the containers `database` and `pgbackrest`; a new cluster elsewhere may not."""
    made = Place(tmp_path)
    conf = tmp_path / "server/conf.d/~postgres-operator_server.conf"
    own = pgbackrest.server_conf(client_cn="clone@u", stanza=stanza)
    (line,) = re.findall("tls-server-auth = .*", own)
    conf.write_text(re.sub("tls-server-auth = .*", line, conf.read_text()))
    with serving(made):
        command = made.command("client", "info")
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    said = done.stdout + done.stderr
    assert ("access denied" in said) is (stanza == "db"), said
    assert ("stanza: db" in said) is (stanza == "*"), said
