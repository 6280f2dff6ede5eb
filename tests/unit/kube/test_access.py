import os
import ssl
from pathlib import Path

import pytest

from local.pki import Authority
from pgoperator.kube.access import NoAccess, TokenFile, find_access, in_cluster
from tests.unit.runtime.test_queue import Clock


async def test_a_token_is_read_again_when_the_file_changes(tmp_path: Path) -> None:
    path, clock = tmp_path / "token", Clock()
    path.write_text("one\n")
    token = TokenFile(path, clock=clock)
    assert await token(False) == "Bearer one"
    path.write_text("two")
    os.utime(path, ns=(1, 1))
    assert await token(False) == "Bearer one"
    clock.now += 60
    assert await token(False) == "Bearer two"
    path.write_text("three")
    assert await token(True) == "Bearer three"


async def test_a_pod_uses_its_account(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "pki")
    authority.create()
    (tmp_path / "token").write_text("secret")
    (tmp_path / "ca.crt").write_text(authority.certificate.read_text())
    environ = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    access = in_cluster(environ, str(tmp_path))
    assert access is not None
    assert access.server == "https://[fd00::1]:443"
    assert access.tls is not None
    assert access.tls.verify_mode == ssl.CERT_REQUIRED
    assert await access.token(False) == "Bearer secret"
    assert in_cluster({}, str(tmp_path)) is None
    assert in_cluster(environ, "/nonexistent") is None


async def test_neither_pod_nor_kubeconfig_is_said(tmp_path: Path) -> None:
    with pytest.raises(NoAccess, match="kubeconfig"):
        await find_access({"KUBECONFIG": str(tmp_path / "none")}, "/nonexistent")
