"""Kubeconfig files in JSON, which is valid YAML and needs only the standard library."""

import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path

from local.paths import ours
from local.pki import Authority, Identity
from local.shell import write


def render(
    server: str, authority: bytes, certificate: bytes, key: bytes, name: str = "pgoperator-local"
) -> str:
    """Render a kubeconfig with one context and embedded certificates; the arguments are PEM."""

    def data(content: bytes) -> str:
        return base64.b64encode(content).decode()

    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {"name": name, "cluster": {"server": server, "certificate-authority-data": data(authority)}}
            ],
            "users": [
                {
                    "name": name,
                    "user": {"client-certificate-data": data(certificate), "client-key-data": data(key)},
                }
            ],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "current-context": name,
        },
        indent=2,
    )


def create(path: Path, server: str, authority: Authority, identity: Identity) -> Path:
    """Write the kubeconfig of an identity, readable only by its owner because of the private key."""
    text = render(
        server,
        authority.certificate.read_bytes(),
        identity.certificate.read_bytes(),
        identity.key.read_bytes(),
    )
    write(path, text, 0o600)
    return path


def foreign(environment: Mapping[str, str] = os.environ) -> str:
    """Return KUBECONFIG if it names another cluster than the local one, else ""."""
    value = environment.get("KUBECONFIG", "")
    return "" if not value or Path(value).absolute() == ours() else value
