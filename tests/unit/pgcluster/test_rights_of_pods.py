"""The account of a cluster's instances: what labels that a compromised pod gives itself bring about."""

from typing import Any

import pytest

from pgoperator import labels, naming
from pgoperator.kube.manifest import Manifest
from reconcilers.pgcluster.instances import build_rbac
from tests.support.views import view
from tests.unit.pgcluster.observed import SET, C, instance_pod, pod, stateful_set

OWN = f"{C}-{SET}-bcdf"
STRANGER = "pgoperator-7c9d"


def patched(*objects: Manifest, **spec: Any) -> list[str]:
    """The pods that the instances may change."""
    (role,) = (one for one in build_rbac.desired(view(list(objects), **spec)) if one["kind"] == "Role")
    (rule,) = (one for one in role["rules"] if one["resources"] == ["pods"] and "patch" in one["verbs"])
    names: list[str] = rule["resourceNames"]
    return names


def test_an_instance_that_should_go_may_still_release_its_lock() -> None:
    planned = patched()
    leaving = f"{C}-former-bcdf"
    own = labels.instance(C, "former", leaving) | {labels.DATA: labels.DATA_POSTGRES}
    body = stateful_set(leaving)
    body["metadata"]["labels"] = own
    assert patched(body) == sorted([*planned, f"{leaving}-0"])
    assert patched(pod(f"{leaving}-0", own)) == sorted([*planned, f"{leaving}-0"])


@pytest.mark.parametrize("instance", [STRANGER, "cluster2-instance1-bcdf", "", "x/y", "*"])
def test_a_label_opens_no_other_pod(instance: str) -> None:
    """The pod says that it is the instance whose pod the attacker wants."""
    theirs = instance_pod(OWN)
    theirs["metadata"]["name"] = "cluster2-instance1-ghjk-0"
    theirs["metadata"]["labels"][labels.INSTANCE] = instance
    assert patched(theirs) == patched()


def test_a_pod_of_a_neighbour_is_no_instance_whatever_its_labels() -> None:
    theirs = instance_pod(OWN, "primary", "running")
    theirs["metadata"]["name"] = "cluster2-instance1-ghjk-0"
    found = view([stateful_set(OWN), theirs]).observed.instances
    assert [(one.name, one.pod) for one in found] == [(OWN, None)]
    assert naming.pod(OWN) in patched(stateful_set(OWN), theirs)
