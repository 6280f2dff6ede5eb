"""kube-controller-manager and kube-scheduler."""

from local.api_server import ApiServer
from local.bins import program

# An isolated node becomes NotReady quickly, which shortens the tests.
_NODE_GRACE = ("--node-monitor-period=2s", "--node-monitor-grace-period=12s")
_NO_LISTENER = "--secure-port=0"
CONTROLLER_MANAGER = "kube-controller-manager"
SCHEDULER = "kube-scheduler"


def start_controller_manager(server: ApiServer) -> None:
    """Start the controllers without leader election, because only one instance runs."""
    authority = server.authority
    kubeconfig = server.client(CONTROLLER_MANAGER, f"system:{CONTROLLER_MANAGER}", "system:controllers")
    flags = [
        f"--kubeconfig={kubeconfig}",
        f"--service-account-private-key-file={authority.service_account_key}",
        f"--root-ca-file={authority.certificate}",
        f"--cluster-signing-cert-file={authority.certificate}",
        f"--cluster-signing-key-file={authority.key}",
        "--use-service-account-credentials",
        "--leader-elect=false",
        "--allocate-node-cidrs=false",
        *_NODE_GRACE,
        _NO_LISTENER,
    ]
    server.processes.start(CONTROLLER_MANAGER, [program(CONTROLLER_MANAGER), *flags])


def start_scheduler(server: ApiServer) -> None:
    """Start the scheduler without leader election."""
    kubeconfig = server.client(SCHEDULER, f"system:{SCHEDULER}", "system:schedulers")
    flags = [f"--kubeconfig={kubeconfig}", "--leader-elect=false", _NO_LISTENER]
    server.processes.start(SCHEDULER, [program(SCHEDULER), *flags])
