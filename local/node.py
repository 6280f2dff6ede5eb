"""A node: containerd, kubelet and kube-proxy in their own network namespace."""

import json
from dataclasses import dataclass
from pathlib import Path

from local.api_server import ApiServer
from local.bins import program
from local.containerd import Containerd
from local.network import GATEWAY, POD_RANGE, namespace, node_address, node_name
from local.paths import RUN
from local.pki import Identity


@dataclass(frozen=True)
class Node:
    """One node of the local cluster."""

    index: int
    server: ApiServer

    @property
    def name(self) -> str:
        """Return the node's name in Kubernetes."""
        return node_name(self.index)

    @property
    def folder(self) -> Path:
        """Return the folder of the node's state."""
        return RUN / self.name

    @property
    def containerd(self) -> Containerd:
        """Return the node's container runtime."""
        return Containerd(self.index, self.server.processes)

    @property
    def processes(self) -> tuple[str, ...]:
        """Return the names of the node's processes."""
        return (f"{self.name}-containerd", f"{self.name}-kubelet", f"{self.name}-kube-proxy")

    def start_agents(self, proxy_kubeconfig: Path) -> None:
        """Start kubelet and kube-proxy; containerd and the API server must be running."""
        address = node_address(self.index)
        authority = self.server.authority
        identity = authority.issue(
            self.name, f"system:node:{self.name}", "system:nodes", [f"DNS:{self.name}", f"IP:{address}"]
        )
        kubeconfig = self.server.client_of(identity, self.folder / "kubeconfig")
        config = self.folder / "kubelet.json"
        config.write_text(json.dumps(self.kubelet_config(identity), indent=2))
        netns = namespace(self.name)
        flags = [
            f"--config={config}",
            f"--kubeconfig={kubeconfig}",
            f"--root-dir={self.folder / 'kubelet'}",
            f"--cert-dir={self.folder / 'pki'}",
            f"--hostname-override={self.name}",
            f"--node-ip={address}",
            "--v=1",
        ]
        self.server.processes.start(f"{self.name}-kubelet", [program("kubelet"), *flags], netns=netns)
        flags = [
            f"--kubeconfig={proxy_kubeconfig}",
            f"--hostname-override={self.name}",
            "--proxy-mode=iptables",
            f"--cluster-cidr={POD_RANGE}",
            "--iptables-min-sync-period=100ms",  # a failover waits for changed endpoints
            "--conntrack-max-per-core=0",  # keeps the limits of the machine
            "--v=1",
        ]
        self.server.processes.start(f"{self.name}-kube-proxy", [program("kube-proxy"), *flags], netns=netns)

    def kubelet_config(self, identity: Identity) -> dict[str, object]:
        """Return the kubelet's configuration."""
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "x509": {"clientCAFile": str(self.server.authority.certificate)},
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
            },
            "authorization": {"mode": "Webhook"},
            "clusterDNS": [GATEWAY],
            "clusterDomain": "cluster.local",
            # The pods share the machine with other processes: no reservations and no QoS cgroups.
            "cgroupDriver": "cgroupfs",
            "cgroupsPerQOS": False,
            # Without QoS cgroups, kubelet 1.34 panics when it resizes a pod with memory limits in place.
            "featureGates": {"InPlacePodVerticalScaling": False},
            "enforceNodeAllocatable": [],
            "failSwapOn": False,
            "containerRuntimeEndpoint": f"unix://{self.containerd.socket}",
            "tlsCertFile": str(identity.certificate),
            "tlsPrivateKeyFile": str(identity.key),
            "evictionHard": {"memory.available": "0%", "nodefs.available": "0%", "imagefs.available": "0%"},
            "imageGCHighThresholdPercent": 100,  # deleted images could not be pulled again
            "resolvConf": str(RUN / "resolv.conf"),
            "podLogsDir": str(self.folder / "pod-logs"),  # per node: a kubelet deletes logs it does not know
            "nodeStatusUpdateFrequency": "3s",
            "nodeStatusReportFrequency": "60s",  # of a status without a change
            "serializeImagePulls": False,
            "maxPods": 200,
        }
