"""Faults: each is injected into a cluster's primary and removed afterwards."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from local import cluster as kubernetes
from local import network
from pgoperator import naming
from pgoperator.postgres.pgbackrest import PORT
from tests.support.clusters import Cluster
from tests.support.kubectl import Kubectl, Manifest, kubeconfig, until


def kill_postmaster(cluster: Cluster) -> None:
    """Kill the postmaster of the primary with SIGKILL; Patroni keeps running."""
    pod = cluster.primary_name()
    path = naming.data_directory(cluster.manifest["spec"]["postgresVersion"])
    cluster.exec(pod, "bash", "-c", f'kill -9 "$(head -n 1 {path}/postmaster.pid)"')


def kill_main_process(cluster: Cluster) -> None:
    """Kill the main process of the primary's database container with SIGKILL: the oldest of its processes."""
    pod = cluster.primary_name()
    # All processes of the pod are visible; those of this container share its mount namespace.
    script = """
        mine=$(readlink /proc/self/ns/mnt); me=$$
        for dir in /proc/[0-9]*; do
            pid=${dir#/proc/}
            [ "$pid" != "$me" ] && [ "$(readlink "$dir/ns/mnt" 2>/dev/null)" = "$mine" ] || continue
            ppid=$(sed -n 's/^PPid:[[:space:]]*//p' "$dir/status" 2>/dev/null)
            [ "$ppid" = 0 ] || [ "$ppid" = 1 ] || continue
            echo "$(sed 's/.*) //' "$dir/stat" | cut -d ' ' -f 20) $pid"
        done | sort -n | head -n 1 | { read -r _ pid; kill -9 "$pid"; }
    """
    cluster.exec(pod, "bash", "-c", script)


def patroni(cluster: Cluster, pod: str) -> str:
    """Return the process id of Patroni in a pod; "" if it does not run."""
    script = """
        for file in /proc/[0-9]*/cmdline; do
            { mapfile -d '' -t words <"$file"; } 2>/dev/null
            case "${words[0]-} ${words[1]-}" in *python*/patroni) echo "$file" | cut -d / -f 3 ;; esac
        done
    """
    return cluster.exec(pod, "bash", "-c", script).strip()


def kill_patroni(cluster: Cluster) -> None:
    """Kill the primary's Patroni with SIGKILL; PostgreSQL keeps running."""
    pod = cluster.primary_name()
    cluster.exec(pod, "bash", "-c", f"kill -9 {patroni(cluster, pod)}")


def delete_pod(cluster: Cluster) -> None:
    """Delete the primary's pod gracefully."""
    cluster.kubectl.delete("pod", cluster.primary_name())


def delete_pod_by_force(cluster: Cluster) -> None:
    """Delete the primary's pod with a grace period of 0."""
    cluster.kubectl.delete("pod", cluster.primary_name(), "--grace-period=0", "--force")


@contextmanager
def node_drained(cluster: Cluster, selector: str = "") -> Iterator[Manifest]:
    """Drain the primary's node of the cluster's pods, and let pods run there again afterwards."""
    primary = cluster.primary()
    node, admin = primary["spec"]["nodeName"], Kubectl(kubeconfig())
    only = f"--pod-selector={','.join(filter(None, (cluster.selector, selector)))}"
    try:
        admin.run("drain", node, "--delete-emptydir-data", "--timeout=120s", only, seconds=150)
        yield primary
    finally:
        admin.run("uncordon", node)


@contextmanager
def postgres_frozen(cluster: Cluster) -> Iterator[Manifest]:
    """Stop all PostgreSQL processes of the primary (SIGSTOP), not Patroni, and continue them afterwards."""
    primary = cluster.primary()
    name, uid = primary["metadata"]["name"], primary["metadata"]["uid"]
    path = naming.data_directory(cluster.manifest["spec"]["postgresVersion"])
    # The postmaster first, so that it starts no other process.
    script = f"""
        pid=$(head -n 1 {path}/postmaster.pid)
        kill "-$0" "$pid"
        for child in $(cat "/proc/$pid/task/$pid/children"); do kill "-$0" "$child"; done
    """

    def signal(kind: str) -> None:
        cluster.exec(name, "bash", "-c", script, kind)

    def thawed() -> bool:
        pod = cluster.kubectl.find("pod", name)
        if pod is not None and pod["metadata"]["uid"] == uid:
            signal("CONT")
        return True

    try:
        signal("STOP")
        yield primary
    finally:
        until(f"{name} continues", thawed, 60)


@contextmanager
def node_cut_off(cluster: Cluster) -> Iterator[Manifest]:
    """Disconnect the primary's node from the network until the context ends."""
    primary = cluster.primary()
    node = primary["spec"]["nodeName"]
    network.cut(node)
    try:
        yield primary
    finally:
        network.heal(node)


@contextmanager
def repository_host_cut_off(cluster: Cluster) -> Iterator[None]:
    """Drop all packets to the repository host, as if its node had lost its network link."""
    pod = cluster.kubectl.get("pod", f"{cluster.name}-repo-host-0")
    rule = ("PREROUTING", "-d", pod["status"]["podIP"], "-p", "tcp", "--dport", str(PORT), "-j", "DROP")
    base = ("ip", "netns", "exec", network.namespace(pod["spec"]["nodeName"]), "iptables", "-t", "raw")
    subprocess.run([*base, "-I", *rule], check=True)
    try:
        yield
    finally:
        subprocess.run([*base, "-D", *rule], check=True)


@contextmanager
def api_server_stopped() -> Iterator[float]:
    """Stop the API server until the context ends."""
    kubernetes.SERVER.kill_api_server()
    try:
        yield time.monotonic()
    finally:
        kubernetes.SERVER.start_api_server()
        kubernetes.SERVER.wait()
