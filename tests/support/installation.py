"""The operator of a test: from the bundle, or, with E2E_OPERATOR=host, a process from the sources."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.host_operator import HostOperator
from tests.support.kubectl import Kubectl
from tests.support.namespaces import empty
from tests.support.operators import Operator


@contextmanager
def installed(kubectl: Kubectl) -> Iterator[Operator]:
    """Install the operator into the namespace of `kubectl`; delete the clusters before the operator stops."""
    on_host = os.environ.get("E2E_OPERATOR") == "host"
    operator = HostOperator.install(kubectl) if on_host else Operator.install(kubectl)
    try:
        yield operator
    finally:
        empty(kubectl)
        operator.stop()
