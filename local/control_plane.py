"""An API server without nodes, for tests. It starts in seconds and does not affect other clusters."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from local import bins, controllers, host
from local.api_server import ApiServer, Settings, free_ports
from local.versions import CONTROL_PLANE

_SERVICE_RANGE = "10.96.0.0/16"


@dataclass(frozen=True)
class Handle:
    """A running control plane whose API server tests can stop and start."""

    server: ApiServer

    @property
    def kubeconfig(self) -> Path:
        """Return the administrator's kubeconfig."""
        return self.server.admin

    @property
    def audit_log(self) -> Path:
        """Return the audit log at Metadata level."""
        return self.server.audit_log

    def kill_apiserver(self) -> None:
        """Kill the API server."""
        self.server.kill_api_server()

    def start_apiserver(self) -> None:
        """Start the API server again on the same port and wait until it is ready."""
        self.server.start_api_server()
        self.server.wait()

    def stop(self) -> None:
        """Kill all processes and delete the folder."""
        stop(self.server.folder)


def start(folder: Path, *, with_controllers: bool = False) -> Handle:
    """Start etcd and kube-apiserver with their state in `folder`, on free ports of the loopback interface."""
    folder = folder.absolute()
    bins.build(CONTROL_PLANE)
    host.install_packages(host.CONTROL_PLANE_PACKAGES)
    stop(folder)
    server = ApiServer(folder)
    port, etcd_port, peer_port = free_ports(3)
    server.create(
        Settings("127.0.0.1", port, etcd_port, peer_port, _SERVICE_RANGE, service_accounts=with_controllers)
    )
    try:
        server.wait()
        if with_controllers:
            controllers.start_controller_manager(server)
    except BaseException:
        server.processes.kill(server.processes.names())
        raise
    return Handle(server)


def stop(folder: Path) -> None:
    """Kill the processes of a folder and delete it; a folder without a control plane stays unchanged."""
    server = ApiServer(folder.absolute())
    if not (server.folder / "api-server.json").exists():
        return
    server.processes.kill(server.processes.names())
    shutil.rmtree(server.folder, ignore_errors=True)
