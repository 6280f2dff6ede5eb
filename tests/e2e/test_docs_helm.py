"""The commands of the page on Helm.

The operator of the page waits for the Lease of the module's own one, which has images that are here:
those that the chart names for clusters cannot be pulled.
"""

from pathlib import Path

from tests.support import reader
from tests.support.kubectl import Kubectl
from tests.support.namespaces import empty
from tests.support.operators import Operator


def test_page(kubectl: Kubectl, operator: Operator, tmp_path: Path) -> None:
    try:
        assert reader.run("docs/howto/helm.md", reader.prepare(kubectl, tmp_path))
    finally:
        empty(kubectl)
