"""Services and Endpoints: how members find each other and how clients find the primary. Pure.

Patroni writes the primary's address to the Endpoints `<cluster>-ha`, which are also its lock: lock and route
change in one write. `<cluster>-primary` is the stable name for clients.
"""

from typing import Any

from pgoperator import labels, naming
from pgoperator.api.common import Expose
from pgoperator.errors import InvalidSpec
from pgoperator.kube.manifest import Manifest
from reconcilers.pgcluster.state.view import View


def desired(view: View) -> list[Manifest]:
    """All Services of the cluster except pgBouncer's, and the Endpoints of the primary."""
    patroni = {labels.PATRONI: naming.patroni_scope(view.name)}
    objects = [
        _pods(view),
        _exposed(view, naming.patroni_scope(view.name), patroni, view.cluster.spec.expose),
        _headless(view.metadata(naming.patroni_config(view.name), patroni, component="")),
        *_primary(view),
    ]
    if view.cluster.spec.replicas > 1:
        objects.append(_replicas(view))
    return objects


def _headless(metadata: Manifest, **spec: Any) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {"clusterIP": "None", "type": "ClusterIP", **spec},
    }


def _pods(view: View) -> Manifest:
    return _headless(
        view.metadata(naming.pods(view.name), {}),
        selector=labels.of_cluster(view.name),
        # Members must find each other before they are ready: otherwise they would not become ready.
        publishNotReadyAddresses=True,
    )


def _port(view: View) -> Manifest:
    # By name: during a rolling change of the port number, pods with the old and the new number both serve.
    name = naming.POSTGRES_PORT_NAME
    return {"name": name, "port": view.cluster.spec.port, "protocol": "TCP", "targetPort": name}


def _primary(view: View) -> list[Manifest]:
    name, own = naming.primary(view.name), {labels.ROLE: labels.ROLE_PRIMARY}
    metadata = view.metadata(name, own, component="pg")
    port = {k: v for k, v in _port(view).items() if k != "targetPort"}
    service = _headless(metadata, ports=[port])
    address = (view.observed.leader_service or {}).get("spec", {}).get("clusterIP")
    if not address:
        return [service]
    endpoints = {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": metadata,
        "subsets": [{"addresses": [{"ip": address}], "ports": [port]}],
    }
    return [service, endpoints]


def _replicas(view: View) -> Manifest:
    own = {labels.ROLE: labels.ROLE_REPLICA}
    return _exposed(
        view,
        naming.replicas(view.name),
        own,
        view.cluster.spec.expose_replicas,
        selector=labels.of_cluster(view.name) | own,
        component="pg",
    )


def _exposed(
    view: View,
    name: str,
    own: dict[str, str],
    expose: Expose | None,
    *,
    selector: dict[str, str] | None = None,
    component: str = "",
) -> Manifest:
    spec = exposure(expose, _port(view), name)
    if selector is not None:
        spec["selector"] = selector
    metadata = view.metadata(name, own, expose, component=component)
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


def exposure(expose: Expose | None, port: Manifest, name: str) -> dict[str, Any]:
    """The part of a Service's spec that `expose` sets: type, ports, load balancer.

    Raises InvalidSpec for a nodePort with type ClusterIP.
    """
    kind = (expose.type if expose else None) or "ClusterIP"
    spec: dict[str, Any] = {"type": kind, "ports": [port]}
    if expose is None:
        return spec
    if expose.node_port:
        if kind == "ClusterIP":
            raise InvalidSpec(
                f"Service {name!r}: nodePort needs type NodePort or LoadBalancer, but the type is ClusterIP",
                reason="MisconfiguredClusterIP",
            )
        spec["ports"] = [port | {"nodePort": expose.node_port}]
    if kind == "LoadBalancer":
        if expose.load_balancer_class:
            spec["loadBalancerClass"] = expose.load_balancer_class
        if expose.load_balancer_source_ranges:
            spec["loadBalancerSourceRanges"] = list(expose.load_balancer_source_ranges)
    return spec
