"""PodDisruptionBudgets: how many pods must stay when nodes are drained. Pure."""

from pgoperator import labels, naming
from pgoperator.kube.manifest import Manifest
from reconcilers.pgcluster.state.view import View


def desired(view: View) -> list[Manifest]:
    """A budget for each instance set and for pgBouncer; none where `minAvailable` is 0."""
    budgets = [
        _budget(
            view,
            naming.set_disruption_budget(view.name, instance_set.name),
            instance_set.effective_min_available,
            {labels.INSTANCE_SET: instance_set.name},
            instance_set.metadata,
        )
        for instance_set in view.cluster.spec.instance_sets()
    ]
    pooler = view.cluster.spec.pg_bouncer
    if pooler is not None:
        selector = {labels.ROLE: labels.ROLE_PGBOUNCER}
        name = naming.pgbouncer(view.name)
        budgets.append(_budget(view, name, pooler.effective_min_available, selector, pooler.metadata))
    return [budget for budget in budgets if budget is not None]


def _budget(
    view: View, name: str, minimum: int | str, selector: dict[str, str], extra: object
) -> Manifest | None:
    if minimum in (0, "0", "0%"):
        return None
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": view.metadata(name, selector, extra, versioned=True),
        "spec": {
            "minAvailable": minimum,
            "selector": {"matchLabels": labels.of_cluster(view.name) | selector},
        },
    }
