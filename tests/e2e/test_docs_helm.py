"""The commands of the page on Helm, which brings an operator of its own."""

from pathlib import Path

from tests.support import reader
from tests.support.kubectl import Kubectl
from tests.support.namespaces import empty


def test_page(kubectl: Kubectl, tmp_path: Path) -> None:
    try:
        assert reader.run("docs/howto/helm.md", reader.prepare(kubectl, tmp_path))
    finally:
        empty(kubectl)
