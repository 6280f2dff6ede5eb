"""docs/howto/move-a-database.md: an ordinary database moves in from a plain PostgreSQL, and out again."""

import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from local import images
from local.paths import RUN
from tests.support import documents
from tests.support.clients import Client
from tests.support.clusters import Cluster, small
from tests.support.kubectl import Kubectl, Manifest, is_ready, until

PAGE = "docs/howto/move-a-database.md"
NAME = "cluster1"
POD = "plain"
ROWS = int(os.environ.get("MOVE_ROWS", "500"))
SERVER = """
export PGDATA=/tmp/data
initdb --auth-local=trust --auth-host=scram-sha-256 --pwfile=<(echo there) >/dev/null
echo 'host all all all scram-sha-256' >> $PGDATA/pg_hba.conf
exec postgres -c listen_addresses='*' -c unix_socket_directories=/tmp -c wal_level=logical
"""
CONTENT = f"""
CREATE ROLE shop; CREATE ROLE reader;
CREATE DATABASE shop OWNER shop;
CREATE DATABASE elsewhere;
\\connect shop
CREATE EXTENSION hstore;
SET ROLE shop;
CREATE SCHEMA sales;
CREATE TABLE customers (id serial PRIMARY KEY, name text NOT NULL);
CREATE TABLE sales."Orders" (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  customer int NOT NULL REFERENCES customers, note text, at timestamptz DEFAULT now());
CREATE VIEW big AS SELECT count(*) FROM sales."Orders";
CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql AS 'SELECT $1 * 2';
GRANT SELECT ON ALL TABLES IN SCHEMA sales TO reader;
INSERT INTO customers (name) SELECT 'customer ' || g FROM generate_series(1, 50) g;
INSERT INTO sales."Orders" (customer, note)
  SELECT g % 50 + 1, repeat(md5(g::text), 8) FROM generate_series(1, {ROWS}) g;
"""
WRITE = """
INSERT INTO sales."Orders" (customer, note) VALUES (1, 'late');
UPDATE customers SET name = 'changed' WHERE id = 7;
DELETE FROM sales."Orders" WHERE id = 3;
"""
FACTS = """
SELECT count(*), sum(id), md5(string_agg(id || note, ',' ORDER BY id)) FROM sales."Orders";
SELECT md5(string_agg(id || name, ',' ORDER BY id)), twice(4) FROM customers;
SELECT last_value FROM customers_id_seq UNION ALL SELECT last_value FROM sales."Orders_id_seq";
"""
OWNERS = """
SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
WHERE nspname IN ('public', 'sales') AND relkind IN ('r', 'S', 'v')
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = pg_class.oid AND d.deptype = 'e')
"""


@pytest.fixture(scope="module")
def cluster(new_cluster: Callable[..., Cluster]) -> Cluster:
    users = [{"name": NAME, "databases": [NAME], "options": "CREATEDB"}]
    made = new_cluster(small(NAME, users=users))
    made.apply()
    made.wait_ready()
    return made


def plain_pod(kubectl: Kubectl, like: Manifest) -> Manifest:
    """A server without an operator, in a pod like the client's."""
    spec = {key: like["spec"][key] for key in ("terminationGracePeriodSeconds", "nodeName")}
    [client] = like["spec"]["containers"]
    container = {key: client[key] for key in ("image", "securityContext", "imagePullPolicy")} | {
        "name": "postgres",
        "command": ["bash", "-euc", SERVER],
        "env": [{"name": "HOME", "value": "/tmp"}],
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, {"name": "shm", "mountPath": "/dev/shm"}],
        "readinessProbe": {"exec": {"command": ["pg_isready", "-h", "localhost"]}, "periodSeconds": 1},
    }
    assert container["image"] == images.POSTGRES
    volumes = [{"name": "tmp", "emptyDir": {}}, {"name": "shm", "emptyDir": {"medium": "Memory"}}]
    spec |= {"containers": [container], "volumes": volumes, "automountServiceAccountToken": False}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": POD}, "spec": spec}


@dataclass(frozen=True)
class Place:
    """A shell as a reader has it: kubectl of this machine, and PostgreSQL's programs of the client pod."""

    kubectl: Kubectl
    client: Client
    folder: Path
    environment: dict[str, str]

    def run(self, *names: str) -> str:
        """Run marked blocks of the page in order, in one shell."""
        blocks = {block.name: block.text for block in documents.shell_blocks(PAGE) if block.name}
        return self.script("\n".join(blocks[name] for name in names))

    def script(self, text: str) -> str:
        """Run a script; an assertion has its output."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=self.folder,
            env=os.environ | self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout


@pytest.fixture(scope="module")
def place(
    cluster: Cluster, client: Client, kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory
) -> Place:
    """The plain server with the database, and a shell whose current folder is the client pod's /tmp."""
    pod = kubectl.get("pod", client.pod)
    kubectl.apply(plain_pod(kubectl, pod))
    until("the plain server answers", lambda: is_ready(kubectl.get("pod", POD)), 120)
    kubectl.exec(POD, "psql", "-qh/tmp", "-vON_ERROR_STOP=1", "postgres", stdin=CONTENT)
    node, uid = pod["spec"]["nodeName"], pod["metadata"]["uid"]
    [folder] = (RUN / node).rglob(f"{uid}/volumes/kubernetes.io~empty-dir/tmp")
    programs = tmp_path_factory.mktemp("programs")
    for name in ("psql", "pg_dump", "pg_restore"):
        inside = f"cd /tmp && exec {name}"
        text = f"#!/bin/sh\nexec {' '.join(kubectl.command('exec', '-i', client.pod))} -- "
        (programs / name).write_text(f'{text}sh -c \'{inside} "$@"\' sh "$@"\n')
        (programs / name).chmod(0o755)
    config = programs / "kubeconfig"
    config.write_text(Path(kubectl.config).read_text(encoding="utf-8"), encoding="utf-8")
    context = ["kubectl", f"--kubeconfig={config}", "config", "set-context", "--current"]
    subprocess.run([*context, f"--namespace={kubectl.namespace}"], check=True, capture_output=True)
    server = f"postgresql://postgres:there@{kubectl.get('pod', POD)['status']['podIP']}:5432"
    environment = {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "KUBECONFIG": str(config),
        "source": f"{server}/shop",
        "elsewhere": f"{server}/elsewhere",
        "target": cluster.credentials()["uri"],
        "primary": f"pod/{cluster.primary_name()}",
    }
    made = Place(kubectl, client, folder, environment)
    made.run("owner")
    return made


@pytest.fixture
def empty(place: Place, cluster: Cluster) -> None:
    """An empty database of the user."""
    drop = "DROP SCHEMA IF EXISTS sales, public CASCADE; DROP EXTENSION IF EXISTS hstore;"
    create = f"CREATE SCHEMA public AUTHORIZATION {NAME}; CREATE EXTENSION hstore"
    cluster.psql(f"{drop} {create}", database=NAME)


def compare(place: Place, cluster: Cluster) -> None:
    """The same rows, sequences and functions are on both sides; the application's user owns them."""
    there = place.kubectl.exec(POD, "psql", "-qAth/tmp", "shop", stdin=FACTS)
    assert place.client.sql(place.environment["target"], FACTS).split() == there.split()
    assert place.client.sql(place.environment["target"], OWNERS) == NAME
    # The user writes on, with sequences that go on.
    place.client.sql(
        place.environment["target"], """INSERT INTO sales."Orders" (customer, note) VALUES (2, 'here')"""
    )


@pytest.mark.usefixtures("empty")
def test_a_dump_in_a_folder(place: Place, cluster: Cluster) -> None:
    place.run("dump")
    compare(place, cluster)


@pytest.mark.usefixtures("empty")
def test_a_plain_dump(place: Place, cluster: Cluster) -> None:
    place.run("plain")
    compare(place, cluster)


@pytest.mark.usefixtures("empty")
def test_logical_replication_and_out_again(place: Place, cluster: Cluster) -> None:
    blocks = {block.name: block.text for block in documents.shell_blocks(PAGE) if block.name}
    place.run("publish", "subscribe")
    place.kubectl.exec(POD, "psql", "-qh/tmp", "shop", stdin=WRITE)
    place.script(blocks["last-row"] + blocks["sequences"])
    compare(place, cluster)
    assert cluster.psql("SELECT count(*) FROM pg_subscription") == "0"
    slots = "SELECT count(*) FROM pg_replication_slots"
    assert place.kubectl.exec(POD, "psql", "-qAth/tmp", "-c", slots, "shop").strip() == "0"
    place.run("out")
    here = place.client.sql(place.environment["target"], FACTS)
    assert place.client.sql(place.environment["elsewhere"], FACTS) == here


def test_a_database_made_by_pg_restore(place: Place, cluster: Cluster) -> None:
    """`pg_restore --create` as a user with CREATEDB; pgBouncer serves the database at once."""
    server = re.sub(r"/[^/]*$", "/postgres", place.environment["target"])
    place.script(
        'pg_dump --format=custom --exclude-extension=hstore --file=create.dump "$source"\n'
        f'pg_restore --create --no-owner --no-acl --exit-on-error --dbname="{server}" create.dump'
    )
    pooled = re.sub(r"/[^/]*$", "/shop", cluster.credentials()["pgbouncer-uri"])
    assert place.client.sql(pooled, "SELECT count(*) FROM customers") == "50"
    owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'shop'"
    assert cluster.psql(owner) == NAME
