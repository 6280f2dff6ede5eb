"""The network of the nodes: a bridge and one network namespace per node, without access to the outside.

All names are derived from the cluster's number, so remains of a cluster are found without a record.
"""

import ipaddress
import json
from pathlib import Path
from typing import Any

from local.paths import CACHE, INSTANCE
from local.shell import output, succeeds

BRIDGE = f"pgop{INSTANCE}"
_PREFIX = f"pgop{INSTANCE or ''}-"  # of namespaces and links of the nodes
GATEWAY = f"10.98.{INSTANCE}.1"
_NODE_NETWORK = f"10.98.{INSTANCE}.0/24"
_FIRST_NODE = 10
SERVICE_RANGE = f"10.{96 - INSTANCE}.0.0/16"
POD_RANGE = f"10.{244 + INSTANCE}.0.0/16"
MAX_NODES = 9

_RULES = (
    # Traffic of pods stays between the nodes. Each rule is inserted at the top, so the last matches first.
    ("-i", BRIDGE, "!", "-o", BRIDGE, "-j", "DROP"),
    ("-i", BRIDGE, "-o", BRIDGE, "-j", "ACCEPT"),
)


def node_name(index: int) -> str:
    """Return the name of a node."""
    return f"node{index}"


def namespace(node: str) -> str:
    """Return the network namespace of a node."""
    return f"{_PREFIX}{node}"


def node_address(index: int) -> str:
    """Return the address of a node on the bridge."""
    return str(ipaddress.ip_network(_NODE_NETWORK)[_FIRST_NODE + index])


def pod_subnet(index: int) -> str:
    """Return the addresses of a node's pods."""
    return str(list(ipaddress.ip_network(POD_RANGE).subnets(new_prefix=24))[index])


def _link(node: str) -> str:
    return f"{_PREFIX}{node}"


def create(nodes: int) -> None:
    """Create the bridge, the namespaces and the routes between them."""
    for module in ("br_netfilter", "overlay"):
        # This can fail if the module is compiled in, or in a container. A missing feature shows later.
        succeeds(["modprobe", module])
    output(["ip", "link", "add", BRIDGE, "type", "bridge"])
    output(["ip", "link", "set", BRIDGE, "alias", CACHE])
    output(["ip", "address", "add", f"{GATEWAY}/24", "dev", BRIDGE])
    output(["ip", "link", "set", BRIDGE, "up"])
    # Traffic without a more specific route must not leave the machine.
    for target in (SERVICE_RANGE, POD_RANGE):
        output(["ip", "route", "add", "blackhole", target])
    for rule in _RULES:
        output(["iptables", "--wait", "-I", "FORWARD", *rule])
    for index in range(1, nodes + 1):
        _create_node(index, nodes)


def _create_node(index: int, nodes: int) -> None:
    node = node_name(index)
    name = namespace(node)
    output(["ip", "netns", "add", name])
    output(["ip", "link", "add", _link(node), "type", "veth", "peer", "name", "eth0", "netns", name])
    output(["ip", "link", "set", _link(node), "master", BRIDGE, "up"])
    commands = [
        "link set lo up",
        f"address add {node_address(index)}/24 dev eth0",
        "link set eth0 up",
        f"route add default via {GATEWAY}",
        *(
            f"route add {pod_subnet(other)} via {node_address(other)}"
            for other in range(1, nodes + 1)
            if other != index
        ),
    ]
    output(["ip", "-n", name, "-batch", "-"], stdin="\n".join(commands) + "\n")
    output(["ip", "route", "add", pod_subnet(index), "via", node_address(index)])
    for key in ("net/ipv4/ip_forward", "net/bridge/bridge-nf-call-iptables"):
        # A shell in the namespace, because /proc/sys/net is that of the process's own namespace.
        output(["nsenter", f"--net=/run/netns/{name}", "sh", "-c", f"echo 1 > /proc/sys/{key}"])


def cut(node: str) -> None:
    """Take a node's link down, which isolates the node."""
    output(["ip", "link", "set", _link(node), "down"])


def heal(node: str) -> None:
    """Bring a node's link up again."""
    output(["ip", "link", "set", _link(node), "up"])


def remove() -> None:
    """Remove everything that `create` made, as far as it exists."""
    for name in _namespaces():
        succeeds(["ip", "netns", "delete", name])
    for link in _links():
        succeeds(["ip", "link", "delete", link])
    for target in (SERVICE_RANGE, POD_RANGE):
        succeeds(["ip", "route", "delete", "blackhole", target])
    for rule in _RULES:
        while succeeds(["iptables", "--wait", "-D", "FORWARD", *rule]):
            pass


def owner() -> str:
    """Return the cache folder of the cluster that owns the bridge, "" without a bridge."""
    return next((str(link.get("ifalias", "")) for link in _all_links() if link["ifname"] == BRIDGE), "")


def _namespaces() -> list[str]:
    folder = Path("/run/netns")
    return sorted(file.name for file in folder.glob(f"{_PREFIX}*")) if folder.is_dir() else []


def _all_links() -> list[dict[str, Any]]:
    links: list[dict[str, Any]] = json.loads(output(["ip", "-json", "link", "show"]))
    return links


def _links() -> list[str]:
    names = [link["ifname"] for link in _all_links()]
    return [name for name in names if name == BRIDGE or name.startswith(_PREFIX)]
