"""Cluster DNS and the volume provisioner. Both run as processes of the machine, like the API server."""

import json

from local.api_server import ApiServer
from local.bins import kubectl, program
from local.images import BUSYBOX
from local.network import GATEWAY
from local.paths import RUN
from local.shell import output, write

COREDNS = "coredns"
STORAGE = "local-path-provisioner"

# Addresses of pods change during a failover, so answers are cached for 2 s and negative answers not at all.
# Names outside the cluster get NXDOMAIN immediately, which is better than a timeout of the resolver.
_COREFILE = """\
cluster.local in-addr.arpa {{
  bind {address}
  errors
  kubernetes {{
    kubeconfig {kubeconfig}
    pods insecure
    ttl 2
  }}
  cache 2 {{
    denial 0
  }}
}}
. {{
  bind {address}
  template ANY ANY {{
    rcode NXDOMAIN
  }}
}}
"""

_NAMESPACE = "local-path-storage"
_PATHS = {"nodePathMap": [{"node": "DEFAULT_PATH_FOR_NON_LISTED_NODES", "paths": [str(RUN / "volumes")]}]}
_HELPER = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "helper-pod"},
    "spec": {
        "priorityClassName": "system-node-critical",
        "containers": [{"name": "helper-pod", "image": BUSYBOX, "imagePullPolicy": "Never"}],
    },
}
_STORAGE_OBJECTS = (
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _NAMESPACE}},
    {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "local-path-provisioner-service-account", "namespace": _NAMESPACE},
    },
    {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "local-path-config", "namespace": _NAMESPACE},
        "data": {
            "config.json": json.dumps(_PATHS),
            "setup": 'mkdir -m 0777 -p "$VOL_DIR"',
            "teardown": 'rm -rf "$VOL_DIR"',
            "helperPod.yaml": json.dumps(_HELPER),
        },
    },
    {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": "standard",
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "rancher.io/local-path",
        "volumeBindingMode": "WaitForFirstConsumer",
        "reclaimPolicy": "Delete",
    },
)


def start(server: ApiServer) -> None:
    """Start cluster DNS and the provisioner of the default StorageClass."""
    corefile = RUN / "Corefile"
    write(corefile, _COREFILE.format(address=GATEWAY, kubeconfig=server.admin))
    server.processes.start(COREDNS, [program(COREDNS), "-conf", corefile])

    objects = {"apiVersion": "v1", "kind": "List", "items": list(_STORAGE_OBJECTS)}
    command = [kubectl(), f"--kubeconfig={server.admin}", "apply", "--server-side", "--filename=-"]
    output(command, stdin=json.dumps(objects))
    config = RUN / "local-path.json"
    write(config, json.dumps(_PATHS))
    flags = [
        f"--config={config}",
        f"--kubeconfig={server.admin}",
        f"--namespace={_NAMESPACE}",
        f"--helper-image={BUSYBOX}",
        "--configmap-name=local-path-config",
        "--service-account-name=local-path-provisioner-service-account",
    ]
    server.processes.start(STORAGE, [program(STORAGE), "start", *flags])
