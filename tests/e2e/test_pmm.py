"""PMM's client beside the database, replaced by a stand-in: the image is not available here."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from local import images
from pgoperator import labels, naming, pki
from tests.support import pmm_agent
from tests.support.clients import Client
from tests.support.clusters import Cluster, small
from tests.support.kubectl import KubectlError, Manifest, until

NAME, TOKEN, PORT = "watched", "glsa_a-token-of-the-server", 8443
FOLDER = Path(pmm_agent.__file__).parent


@pytest.fixture(scope="module")
def server(client: Client) -> str:
    """The server's address; the file /tmp/reported in the client's pod has the requests."""
    pair = pki.new_ca("pmm-server", datetime.now(UTC))
    client.write("/tmp/server.pem", (pair.key + pair.cert).decode())
    client.write("/tmp/server.py", (FOLDER / "pmm_server.py").read_text(encoding="utf-8"))
    client.write("/tmp/token", TOKEN)
    command = f"python3 -u /tmp/server.py {PORT} /tmp/server.pem /tmp/token"
    client.run("bash", "-c", f"setsid {command} </dev/null >/tmp/reported 2>/dev/null &")
    return f"{client.kubectl.get('pod', client.pod)['status']['podIP']}:{PORT}"


@pytest.fixture(scope="module")
def watched(new_cluster: Callable[..., Cluster], server: str) -> Cluster:
    """A cluster with PMM enabled; the image of the client only sleeps."""
    pmm = {"enabled": True, "image": images.PAUSE, "secret": "pmm", "serverHost": server}
    made = new_cluster(small(NAME, pmm=pmm | {"querySource": "pgstatstatements"}))
    made.apply()
    made.wait_ready()
    return made


def containers(cluster: Cluster) -> dict[str, Manifest]:
    name = cluster.primary()["metadata"]["labels"][labels.INSTANCE]
    spec = cluster.kubectl.get("statefulset", name)["spec"]["template"]["spec"]
    return {container["name"]: container for container in spec["containers"]}


def secret(**data: str) -> Manifest:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "pmm"}, "stringData": data}


def says(cluster: Cluster, reason: str) -> None:
    until(
        f"PMMReady is {reason}",
        lambda: cluster.condition("PMMReady").get("reason") == reason,
        60,
        cluster.explain,
    )


def restarted(cluster: Cluster, old: Manifest) -> Manifest:
    """Wait until the operator has replaced the pod, and return the new primary's pod."""

    def uid() -> str:
        return cluster.primary()["metadata"]["uid"]

    until("another pod is the primary", lambda: uid() != old["metadata"]["uid"], 180, cluster.explain)
    cluster.wait_ready()
    return cluster.primary()


def test_without_its_secret_it_stays_off(watched: Cluster) -> None:
    says(watched, "PMMSecretNotFound")
    assert naming.PMM_CONTAINER not in containers(watched)
    watched.kubectl.apply(secret(PMM_SERVER_KEY="of PMM 2"))
    says(watched, "PMMSecretInvalid")
    assert naming.PMM_CONTAINER not in containers(watched)
    before = watched.primary()
    watched.kubectl.apply(secret(PMM_SERVER_TOKEN=TOKEN))
    says(watched, "PMMConfigured")
    until("the container is wanted", lambda: naming.PMM_CONTAINER in containers(watched), 30, watched.explain)
    restarted(watched, before)


def test_the_client_can_do_its_work(watched: Cluster, client: Client) -> None:
    """The stand-in runs in the client's pod, with its environment, mounts and security."""
    pod = watched.primary()
    found = next(c for c in pod["spec"]["containers"] if c["name"] == naming.PMM_CONTAINER)
    stand_in = {
        "name": "stand-in",
        "image": images.POSTGRES,
        "command": ["python3", "-c", "import os; exec(os.environ['AGENT_SOURCE'])"],
        "env": [
            *found["env"],
            {"name": "AGENT_SOURCE", "value": Path(pmm_agent.__file__).read_text(encoding="utf-8")},
        ],
        "volumeMounts": found["volumeMounts"],
        # The user id of PMM's image.
        "securityContext": found["securityContext"] | {"runAsUser": 1002, "runAsGroup": 1002},
    }
    name = pod["metadata"]["name"]
    patch = json.dumps({"spec": {"ephemeralContainers": [stand_in]}})
    watched.kubectl.run("patch", "pod", name, "--subresource=ephemeralcontainers", f"--patch={patch}")

    def log() -> str:
        try:
            return watched.kubectl.logs(name, "--container=stand-in")
        except KubectlError as error:
            return str(error)

    until("the prerun script has ended well", lambda: "prerun ended with 0" in log(), 90, log)
    lines = client.run("cat", "/tmp/reported").splitlines()
    assert "REFUSED" not in lines
    reported: list[dict[str, Any]] = [json.loads(line) for line in lines]
    added = next(one for one in reported if one["words"] == ["add", "postgresql"])
    assert added["seen"] == "monitor|t|t"
    assert watched.psql("SELECT rolsuper FROM pg_roles WHERE rolname = 'monitor'") == "f"
    assert added["mode"] == "0o600"
    node = f"{watched.kubectl.namespace}-{name}"
    assert added["node"] == added["options"]["service-name"] == node
    assert added["options"]["cluster"] == NAME
    assert [one["words"][:2] for one in reported][-1][0] == "annotate"
    password = watched.credentials("monitor")["password"]
    assert password not in json.dumps(reported)
    assert TOKEN not in json.dumps(reported)
    # The role is for this pod alone.
    host = watched.credentials("monitor")["host"]
    refused = client.refused(
        f"host={host} user=monitor dbname=postgres password='{password}' sslmode=require"
    )
    assert "pg_hba.conf rejects" in refused


def test_another_token_restarts_the_pod_once(watched: Cluster) -> None:
    def digest(pod: Manifest) -> str:
        return str(pod["metadata"]["annotations"][labels.PMM_SECRET_HASH])

    before = watched.primary()
    name = before["metadata"]["labels"][labels.INSTANCE]
    watched.kubectl.apply(secret(PMM_SERVER_TOKEN="another"))
    now = restarted(watched, before)
    assert digest(now) != digest(before)
    newest = watched.kubectl.get("statefulset", name)["status"]["updateRevision"]
    assert now["metadata"]["labels"]["controller-revision-hash"] == newest
    assert watched.primary()["metadata"]["uid"] == now["metadata"]["uid"]


def test_switched_off_nothing_of_it_is_left(watched: Cluster) -> None:
    before = watched.primary()
    watched.change(lambda spec: spec["pmm"].update(enabled=False))
    role = "SELECT count(*) FROM pg_roles WHERE rolname = 'monitor'"
    until("the role is gone", lambda: watched.psql(role) == "0", 60, watched.explain)
    until(
        "the container is not wanted",
        lambda: naming.PMM_CONTAINER not in containers(watched),
        60,
        watched.explain,
    )
    pod = restarted(watched, before)
    assert naming.PMM_CONTAINER not in [container["name"] for container in pod["spec"]["containers"]]
    assert not watched.condition("PMMReady")
    assert watched.psql("SELECT count(*) FROM pg_extension WHERE extname = 'pg_stat_statements'") == "0"
