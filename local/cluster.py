"""Creates, updates, checks and removes the local Kubernetes."""

import json
import shutil
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from local import addons, bins, controllers, host, images, network
from local.api_server import ApiServer, Settings, free_ports
from local.cleanup import remove_cluster
from local.console import LocalError, info, step
from local.node import Node
from local.paths import LOGS, NODES, RUN
from local.shell import lock, output, wait_for, write
from local.versions import CLUSTER, MODULES

SERVER = ApiServer(RUN)
_STATE = RUN / "cluster.json"
_API_PORT = 6443
_BOOT = Path("/proc/sys/kernel/random/boot_id")


def build(image_names: Sequence[str]) -> None:
    """Build programs (CPU-bound) and images (network-bound) at the same time."""
    host.install_packages({**host.NODE_PACKAGES, **host.IMAGE_PACKAGES})
    with ThreadPoolExecutor() as pool:
        wanted = (*images.SYSTEM, *image_names)
        _results([pool.submit(bins.build, CLUSTER), pool.submit(images.build, wanted)])


def up(nodes: int, image_names: Sequence[str]) -> None:
    """Ensure a healthy cluster with this number of nodes and these images; keep a running one if it fits."""
    host.require_root()
    if not 1 <= nodes <= network.MAX_NODES:
        raise LocalError(f"the number of nodes must be between 1 and {network.MAX_NODES}, not {nodes}")
    build(image_names)
    with lock("cluster"):
        if is_healthy(nodes):
            with step(f"update the images of the running cluster ({nodes} nodes)"):
                _import_images(nodes, image_names)
            return
        with step("remove the remains of an earlier cluster"):
            remove_cluster()
        with step(f"start Kubernetes with {nodes} nodes"):
            try:
                _create(nodes, image_names)
            except BaseException:
                info(f"the logs of the failed start are in {_keep_logs()}")
                remove_cluster()
                raise


def down() -> None:
    """Remove the cluster; programs, images and the nodes' image stores stay in the cache."""
    host.require_root()
    with lock("cluster"), step("remove the local cluster"):
        remove_cluster()


def stop_api_server() -> None:
    """Kill the API server."""
    nodes_of_state()
    SERVER.kill_api_server()


def start_api_server() -> None:
    """Start the API server again and restart controller manager and scheduler.

    With leader election, they exit when they cannot renew their lease, and restart with an empty cache. Here
    they run without it and would use an outdated cache for another minute.
    """
    nodes_of_state()
    SERVER.processes.kill([controllers.CONTROLLER_MANAGER, controllers.SCHEDULER])
    SERVER.start_api_server()
    SERVER.wait()
    controllers.start_controller_manager(SERVER)
    controllers.start_scheduler(SERVER)


def nodes_of_state() -> list[Node]:
    """Return the nodes of the running cluster; LocalError without one."""
    if not _STATE.is_file():
        raise LocalError("no local cluster is running; start one with `make up`")
    count = json.loads(_STATE.read_text())["nodes"]
    return [Node(index, SERVER) for index in range(1, count + 1)]


def kubectl(*arguments: str | Path, stdin: str | None = None) -> str:
    """Run kubectl against the local cluster and return its output."""
    return output([bins.kubectl(), f"--kubeconfig={SERVER.admin}", *arguments], stdin=stdin)


def ready_nodes() -> list[str]:
    """Return the names of the nodes that are Ready."""
    items = json.loads(kubectl("get", "nodes", "--output=json"))["items"]
    return [
        item["metadata"]["name"]
        for item in items
        if any(c["type"] == "Ready" and c["status"] == "True" for c in item["status"].get("conditions", []))
    ]


def is_healthy(nodes: int) -> bool:
    """Return whether a cluster with this number of nodes and these program versions runs and works."""
    if not _STATE.is_file() or json.loads(_STATE.read_text()) != _description(nodes):
        return False
    names = [*SERVER.processes.names(), *(name for node in nodes_of_state() for name in node.processes)]
    if not all(map(SERVER.processes.alive, names)) or not SERVER.ready():
        return False
    try:
        for node in nodes_of_state():
            network.heal(node.name)
        wait_for("all nodes are Ready", lambda: len(ready_nodes()) == nodes, 30)
    except LocalError:
        return False
    return True


def describe() -> list[str]:
    """Return the lines of `make status`: API server, nodes, exited processes and paths."""
    nodes = nodes_of_state()
    processes = SERVER.processes
    dead = [name for name in processes.names() if not processes.alive(name)]
    api = SERVER.ready()
    lines = [f"API server  {SERVER.url} ({'ready' if api else 'not ready'})"]
    ready = ready_nodes() if api else []
    lines += [f"{node.name}       {'Ready' if node.name in ready else 'NotReady'}" for node in nodes]
    lines += [f"exited      {name}, log: {processes.log(name)}" for name in dead]
    lines += [f"kubeconfig  {SERVER.admin}", f"audit log   {SERVER.audit_log}"]
    return lines


def _description(nodes: int) -> dict[str, object]:
    return {"nodes": nodes, "programs": {name: bins.stamp(MODULES[name]) for name in CLUSTER}}


def _create(count: int, image_names: Sequence[str]) -> None:
    _check_content()
    RUN.mkdir(parents=True)
    write(RUN / "resolv.conf", "")  # without the search domains of the machine
    network.create(count)
    etcd_port, peer_port = free_ports(2)
    names = ("kubernetes.local",)
    SERVER.create(
        Settings(
            network.GATEWAY, _API_PORT, etcd_port, peer_port, network.SERVICE_RANGE, service_accounts=True
        ),
        names,
    )
    proxy = SERVER.client("kube-proxy", "system:kube-proxy", "system:node-proxier")
    nodes = [Node(index, SERVER) for index in range(1, count + 1)]
    api_is_up = threading.Event()
    with ThreadPoolExecutor() as pool:
        runtimes = [pool.submit(_start_node, node, proxy, api_is_up, image_names) for node in nodes]
        try:
            SERVER.wait()
            controllers.start_controller_manager(SERVER)
            controllers.start_scheduler(SERVER)
            addons.start(SERVER)
        finally:
            api_is_up.set()
        _results(runtimes)

    def ready() -> bool:
        SERVER.processes.check(SERVER.processes.names())
        return len(ready_nodes()) == count

    wait_for("all nodes are Ready", ready, 90)
    write(_STATE, json.dumps(_description(count)))


def _start_node(node: Node, proxy: Path, api_is_up: threading.Event, image_names: Sequence[str]) -> None:
    """Start a node; large images are imported while the kubelet registers the node."""
    node.containerd.start()
    node.containerd.import_images(images.ALL[name] for name in images.SYSTEM)
    api_is_up.wait()
    node.start_agents(proxy)
    for name in node.containerd.import_images(images.ALL[name] for name in image_names):
        info(f"{node.name}: imported {name}")


def _import_images(count: int, image_names: Sequence[str]) -> None:
    with ThreadPoolExecutor() as pool:
        wanted = [images.ALL[name] for name in image_names]
        nodes = [Node(index, SERVER) for index in range(1, count + 1)]
        _results([pool.submit(node.containerd.import_images, wanted) for node in nodes])


def _check_content() -> None:
    """Delete the nodes' image stores after a reboot, because unwritten files can be lost."""
    boot = _BOOT.read_text()
    mark = NODES / "boot-id"
    if not mark.is_file() or mark.read_text() != boot:
        shutil.rmtree(NODES, ignore_errors=True)
        write(mark, boot)


def _results(futures: Sequence[Future[None]] | Sequence[Future[list[str]]]) -> None:
    """Wait for all futures and raise the first exception."""
    for future in futures:
        future.result()


def _keep_logs() -> Path:
    target = LOGS / "failed-up"
    shutil.rmtree(target, ignore_errors=True)
    if SERVER.processes.folder.is_dir():
        shutil.copytree(SERVER.processes.folder, target)
    return target
