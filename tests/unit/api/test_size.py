"""The definitions can be installed by a plain `kubectl apply`, which notes all of it in an annotation."""

import json

import pytest

from pgoperator.api import KINDS, Manifest, Resource
from pgoperator.api.crd import crd

# Of all annotations of an object together, keys and values.
MOST = 256 * 1024
MARGIN = 300
KEY = "kubectl.kubernetes.io/last-applied-configuration"


def note(manifest: Manifest) -> str:
    """What kubectl writes: JSON without blanks, with an empty map in its own place, and with Go's escapes."""
    manifest = manifest | {"metadata": {"annotations": {}} | manifest["metadata"]}
    text = json.dumps(manifest, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return f"{text}\n"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.NAMES.kind)
def test_a_definition_fits_into_the_annotation(kind: type[Resource]) -> None:
    manifest = crd(kind)
    assert "annotations" not in manifest["metadata"]
    size = len(KEY) + len(note(manifest).encode())
    assert size + MARGIN <= MOST, "shorten descriptions, or leave some out"
