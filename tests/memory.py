# ruff: noqa: T201 - a report
"""Measure the operator's memory: idle, and with the objects of many clusters in its store.

    python -m tests.memory [CLUSTERS]

Starts an API server without nodes, fills it with the objects of clusters of three instances, three pgBouncers
and a repository host, and runs an operator process as a pod would (service account, every watch of the real
operator, passes that read everything). Prints the resident set before and after. Not a test: nothing is
asserted.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import yaml

from local import control_plane
from pgoperator import app, labels, log
from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.access import find_access, from_kubeconfig
from pgoperator.kube.client import Client
from pgoperator.kube.manifest import Key, Kind, Manifest, labels_of
from pgoperator.kube.transport import Request
from pgoperator.runtime.controller import Controller
from pgoperator.runtime.result import Done, Result
from pgoperator.runtime.source import Watch
from pgoperator.settings import Settings

NAMESPACE = "memory"
HELD = (
    *(kinds.SECRET, kinds.CONFIG_MAP, kinds.SERVICE, kinds.ENDPOINTS, kinds.POD, kinds.STATEFUL_SET),
    *(kinds.DEPLOYMENT, kinds.PVC, kinds.ROLE, kinds.SERVICE_ACCOUNT, kinds.POD_DISRUPTION_BUDGET),
)
MIB = 1024


def main() -> None:
    """Measure and print."""
    if sys.argv[1:2] == ["operator"]:
        asyncio.run(operator())
        return
    clusters = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    with tempfile.TemporaryDirectory() as folder:
        plane = control_plane.start(Path(folder, "plane"))
        try:
            environ = asyncio.run(prepare(str(plane.kubeconfig), Path(folder)))
            measure("pgoperator run, idle", environ, None)
            measure("no cluster", environ, 0)
            asyncio.run(fill(str(plane.kubeconfig), range(1)))
            one = measure("1 cluster", environ, 1)
            asyncio.run(fill(str(plane.kubeconfig), range(1, clusters)))
            many = measure(f"{clusters} clusters", environ, clusters)
            print(f"growth per cluster: {(many - one) / (clusters - 1) / MIB:.3f} MiB")
        finally:
            plane.stop()


def measure(what: str, environ: dict[str, str], clusters: int | None) -> int:
    """Run an operator until it has seen every cluster; return and print its resident KiB.

    `clusters` None runs the product itself, otherwise the operator below, which reports when it has seen all.
    """
    command = ["pgoperator", "run"] if clusters is None else ["tests.memory", "operator"]
    with subprocess.Popen(
        [sys.executable, "-m", *command], env=environ | {"EXPECT": str(clusters), "LOG_LEVEL": "ERROR"}
    ) as process:
        try:
            time.sleep(12)
            status = Path(f"/proc/{process.pid}/status").read_text()
        finally:
            process.send_signal(signal.SIGTERM)
    found = {
        line.split(":")[0]: int(line.split()[1])
        for line in status.splitlines()
        if line.startswith(("VmRSS", "VmHWM"))
    }
    print(
        f"{what}: {found['VmRSS'] / MIB:.1f} MiB resident, {found['VmHWM'] / MIB:.1f} MiB at its highest",
        flush=True,
    )
    return found["VmRSS"]


async def operator() -> None:
    """Run as `pgoperator run` does, with passes that read the cluster's objects."""
    import cryptography.x509  # noqa: F401 - what the real reconcilers import

    import pgoperator.api  # noqa: F401

    settings = Settings.from_env(os.environ)
    log.configure(level="ERROR", structured=True)
    seen: set[Key] = set()

    async def reconcile(context: Context, key: Key) -> Result:
        for kind in HELD:
            context.store.select(kind, key.namespace, labels.of_cluster(key.name))
        seen.add(key)
        return Done()

    def to_keys(manifest: Manifest) -> list[Key]:
        name = labels_of(manifest)[labels.CLUSTER]
        return [Key("ConfigMap", manifest["metadata"]["namespace"], name)]

    watches = tuple(Watch(kind, to_keys, labels.CLUSTER) for kind in HELD)
    access = await find_access(os.environ, settings.service_account_dir)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await app.serve(settings, access, (Controller("memory", kinds.CONFIG_MAP, reconcile, watches),), stop)
    if len(seen) != int(os.environ["EXPECT"]):
        print(f"only {len(seen)} clusters seen")


async def prepare(kubeconfig: str, folder: Path) -> dict[str, str]:
    """Create a service account and return the environment of a pod that uses it."""
    access = await from_kubeconfig(kubeconfig)
    client = Client(access)
    rbac = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    subject = {"kind": "ServiceAccount", "name": "operator", "namespace": NAMESPACE}
    accounts = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts"
    answer: Manifest = {}
    for path, body in (
        ("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}}),
        (accounts, {"metadata": {"name": "operator"}}),
        (
            "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
            {"metadata": {"name": "operator"}, "roleRef": rbac, "subjects": [subject]},
        ),
        (accounts + "/operator/token", {"spec": {"expirationSeconds": 7200}}),
    ):
        answer = await client.transport.json(Request("POST", path, "POST", body=json.dumps(body).encode()))
    for file in Path("manifests/crds").glob("*.yaml"):  # noqa: ASYNC240
        crd = yaml.safe_load(file.read_text())
        plural = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        await client.transport.json(Request("POST", plural, "POST", body=json.dumps(crd).encode()))
    await client.close()
    (folder / "token").write_text(answer["status"]["token"])
    (folder / "namespace").write_text(NAMESPACE)
    assert access.tls is not None
    import ssl

    certificates = access.tls.get_ca_certs(binary_form=True)
    (folder / "ca.crt").write_text("".join(ssl.DER_cert_to_PEM_cert(der) for der in certificates))
    host, port = access.server.removeprefix("https://").split(":")
    keep = {
        name: value
        for name, value in os.environ.items()
        if name in {"PATH", "HOME", "LANG"} or "MALLOC" in name
    }
    return keep | {
        "KUBERNETES_SERVICE_HOST": host,
        "KUBERNETES_SERVICE_PORT": port,
        "PGO_SERVICE_ACCOUNT_DIR": str(folder),
        "PGO_METRICS_PORT": "0",
        "PGO_HEALTH_PORT": "0",
    }


async def fill(kubeconfig: str, clusters: range) -> None:
    """Create every object of the clusters."""
    client = Client(await from_kubeconfig(kubeconfig))
    for number in clusters:
        name = f"cluster{number}"
        async with asyncio.TaskGroup() as group:
            for manifest in objects(name):
                group.create_task(client.create(manifest))
    await client.close()


def objects(cluster: str) -> Iterator[Manifest]:
    """Return the objects of one cluster, with realistic numbers and sizes."""
    pem = {"tls.crt": "A" * 1600, "tls.key": "A" * 400, "ca.crt": "A" * 1200}
    yield make(cluster, kinds.CONFIG_MAP, "", data={"spec": "x" * 6000})  # stands for the custom resource
    for part, size in (
        ("instance1", 4000),
        ("instance2", 4000),
        ("instance3", 4000),
        ("backrest", 3000),
        ("scripts", 20000),
    ):
        yield make(cluster, kinds.CONFIG_MAP, "-" + part, data={"text": "x" * size})
    for part in (
        "ca",
        "server",
        "replication",
        "bouncer",
        "backrest",
        "i1",
        "i2",
        "i3",
        "repo",
        "user1",
        "user2",
    ):
        yield make(cluster, kinds.SECRET, "-" + part, data=pem)
    for part in ("primary", "replicas", "ha", "pods", "bouncer", "i1", "i2", "i3", "repo"):
        yield make(cluster, kinds.SERVICE, "-" + part, spec={"clusterIP": "None", "ports": [{"port": 5432}]})
    for part in ("ha", "ha-config", "primary"):
        yield make(cluster, kinds.ENDPOINTS, "-" + part, annotations={"config": "x" * 1500})
    for part in ("i1", "i2", "i3", "repo"):
        labelled = {"matchLabels": {labels.CLUSTER: cluster, "p": part}}
        spec = {"selector": labelled, "serviceName": "s", "template": template(cluster, part)}
        yield make(cluster, kinds.STATEFUL_SET, "-" + part, spec=spec)
        claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        yield make(cluster, kinds.PVC, "-" + part, spec=claim)
    labelled = {"matchLabels": {labels.CLUSTER: cluster, "p": "b"}}
    yield make(cluster, kinds.DEPLOYMENT, "", spec={"selector": labelled, "template": template(cluster, "b")})
    for part in ("i1", "i2", "i3", "repo", "b1", "b2", "b3"):
        yield make(
            cluster, kinds.POD, "-" + part, spec=template(cluster, part)["spec"] | {"nodeName": "none"}
        )
    for part in ("instance", "backrest"):
        yield make(
            cluster,
            kinds.ROLE,
            "-" + part,
            rules=[{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}],
        )
        yield make(cluster, kinds.SERVICE_ACCOUNT, "-" + part)
        yield make(
            cluster, kinds.POD_DISRUPTION_BUDGET, "-" + part, spec={"minAvailable": 1, "selector": labelled}
        )


def make(
    cluster: str, kind: Kind, part: str, *, annotations: dict[str, str] | None = None, **content: object
) -> Manifest:
    """One object."""
    meta = {
        "name": cluster + part,
        "namespace": NAMESPACE,
        "labels": labels.of_cluster(cluster) | labels.recommended(cluster, "pg"),
        "annotations": {"pgv2.percona.com/applied-hash": "0" * 20} | (annotations or {}),
    }
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": meta} | content


def template(cluster: str, part: str) -> Manifest:
    """A pod of about 6 kB, as the server completes it."""
    mounts = [{"name": f"volume{number}", "mountPath": f"/volume{number}"} for number in range(6)]
    variables = [{"name": f"VARIABLE_{number}", "value": "some value of it"} for number in range(12)]
    probe = {"httpGet": {"path": "/liveness", "port": 8008}, "periodSeconds": 10}
    container = {
        "image": "none",
        "volumeMounts": mounts,
        "env": variables,
        "livenessProbe": probe,
        "readinessProbe": probe,
    }
    containers = [container | {"name": name} for name in ("database", "replication-cert-copy", "pgbackrest")]
    volumes = [{"name": f"volume{number}", "emptyDir": {}} for number in range(6)]
    return {
        "metadata": {"labels": {labels.CLUSTER: cluster, "p": part}},
        "spec": {"containers": containers, "volumes": volumes},
    }


if __name__ == "__main__":
    main()
