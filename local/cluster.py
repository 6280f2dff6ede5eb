"""The local Kubernetes: made, kept, looked at and removed."""

import json
import shutil
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from local import addons, bins, controllers, host, images, network
from local.api_server import ApiServer, Settings, free_ports
from local.cleanup import remove_cluster
from local.console import LocalError, say, step
from local.node import Node
from local.paths import LOGS, NODES, RUN
from local.shell import lock, output, wait_for, write
from local.versions import CLUSTER, MODULES

SERVER = ApiServer(RUN)
_STATE = RUN / "cluster.json"
_API_PORT = 6443
_BOOT = Path("/proc/sys/kernel/random/boot_id")


def build(image_names: Sequence[str]) -> None:
    """Build programs, which wait for the processor, beside images, those of the nodes too, for packages."""
    host.install_packages({**host.NODE_PACKAGES, **host.IMAGE_PACKAGES})
    with ThreadPoolExecutor() as pool:
        wanted = (*images.SYSTEM, *image_names)
        _results([pool.submit(bins.build, CLUSTER), pool.submit(images.build, wanted)])


def up(nodes: int, image_names: Sequence[str]) -> None:
    """Leave a healthy cluster with so many nodes and these images: the running one, or a new one."""
    host.require_root()
    if not 1 <= nodes <= network.MAX_NODES:
        raise LocalError(f"the number of nodes must be between 1 and {network.MAX_NODES}, not {nodes}")
    build(image_names)
    with lock("cluster"):
        if is_healthy(nodes):
            with step(f"the cluster of {nodes} nodes is up: looking for changed images"):
                _import_images(nodes, image_names)
            return
        with step("removing what is left of the last cluster"):
            remove_cluster()
        with step(f"starting a Kubernetes of {nodes} nodes"):
            try:
                _create(nodes, image_names)
            except BaseException:
                say(f"the logs of what ran are kept in {_keep_logs()}")
                remove_cluster()
                raise


def down() -> None:
    """Remove the cluster; programs, images and the content of the nodes' runtimes stay in the cache."""
    host.require_root()
    with lock("cluster"), step("removing the local cluster"):
        remove_cluster()


def stop_api_server() -> None:
    """End the API server as a crash would."""
    nodes_of_state()
    SERVER.kill_api_server()


def start_api_server() -> None:
    """Start the API server again, and what would have been restarted without it.

    Controllers that elect a leader exit when they cannot renew their lease, and come back with a fresh
    view. Ours elect none, and would look at an old view for another minute.
    """
    nodes_of_state()
    SERVER.processes.kill([controllers.CONTROLLER_MANAGER, controllers.SCHEDULER])
    SERVER.start_api_server()
    SERVER.wait()
    controllers.start_controller_manager(SERVER)
    controllers.start_scheduler(SERVER)


def nodes_of_state() -> list[Node]:
    """Return the nodes of the running cluster."""
    if not _STATE.is_file():
        raise LocalError("there is no local cluster: `make up` starts one")
    count = json.loads(_STATE.read_text())["nodes"]
    return [Node(index, SERVER) for index in range(1, count + 1)]


def kubectl(*arguments: str | Path, stdin: str | None = None) -> str:
    """Run kubectl against the local cluster."""
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
    """Tell whether the running cluster is the wanted one, and works."""
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
    """Return what a person wants to know about the running cluster, line by line."""
    nodes = nodes_of_state()
    processes = SERVER.processes
    dead = [name for name in processes.names() if not processes.alive(name)]
    api = SERVER.ready()
    lines = [f"API server  {SERVER.url} ({'ready' if api else 'NOT ready'})"]
    ready = ready_nodes() if api else []
    lines += [f"{node.name}       {'Ready' if node.name in ready else 'NOT Ready'}" for node in nodes]
    lines += [f"ended       {name}, its log is {processes.log(name)}" for name in dead]
    lines += [f"kubeconfig  {SERVER.admin}", f"audit log   {SERVER.audit_log}"]
    return lines


def _description(nodes: int) -> dict[str, object]:
    return {"nodes": nodes, "programs": {name: bins.stamp(MODULES[name]) for name in CLUSTER}}


def _create(count: int, image_names: Sequence[str]) -> None:
    _check_content()
    RUN.mkdir(parents=True)
    write(RUN / "resolv.conf", "")  # the machine's search domains are not the pods'
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
    """Start a node; the big images follow while the kubelet registers."""
    node.containerd.start()
    node.containerd.import_images(images.ALL[name] for name in images.SYSTEM)
    api_is_up.wait()
    node.start_agents(proxy)
    for name in node.containerd.import_images(images.ALL[name] for name in image_names):
        say(f"{node.name}: imported {name}")


def _import_images(count: int, image_names: Sequence[str]) -> None:
    with ThreadPoolExecutor() as pool:
        wanted = [images.ALL[name] for name in image_names]
        nodes = [Node(index, SERVER) for index in range(1, count + 1)]
        _results([pool.submit(node.containerd.import_images, wanted) for node in nodes])


def _check_content() -> None:
    """Drop the runtimes' content after a reboot: what the machine had not written out yet is lost."""
    boot = _BOOT.read_text()
    mark = NODES / "boot-id"
    if not mark.is_file() or mark.read_text() != boot:
        shutil.rmtree(NODES, ignore_errors=True)
        write(mark, boot)


def _results(futures: Sequence[Future[None]] | Sequence[Future[list[str]]]) -> None:
    """Wait for all and raise the first failure."""
    for future in futures:
        future.result()


def _keep_logs() -> Path:
    target = LOGS / "failed-up"
    shutil.rmtree(target, ignore_errors=True)
    if SERVER.processes.folder.is_dir():
        shutil.copytree(SERVER.processes.folder, target)
    return target
