import asyncio
import json
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


async def test_a_kubeconfig_can_name_a_proxy_and_the_server_s_name(tmp_path: Path) -> None:
    cluster = {
        "server": "https://127.0.0.1:6443",
        "tls-server-name": "kubernetes.example",
        "proxy-url": "http://127.0.0.1:8080",
        "insecure-skip-tls-verify": True,
    }
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "c", "user": {"token": "x"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
    }
    (tmp_path / "config").write_text(json.dumps(config))
    access = await find_access({"KUBECONFIG": str(tmp_path / "config")}, "/nonexistent")
    assert (access.server_name, access.proxy) == ("kubernetes.example", "http://127.0.0.1:8080")
    assert await access.token(False) == "Bearer x"


@pytest.mark.parametrize("text", ["", "[]", "a: [", "kind: Config", "\x00"])
async def test_an_unusable_kubeconfig_is_no_access(tmp_path: Path, text: str) -> None:
    (tmp_path / "config").write_text(text)
    with pytest.raises(NoAccess):
        await find_access({"KUBECONFIG": str(tmp_path / "config")}, "/nonexistent")


async def test_an_exec_plugin_is_called_once_for_all_that_were_rejected(tmp_path: Path) -> None:
    plugin = tmp_path / "plugin"
    plugin.write_text(
        f"#!/bin/sh\necho x >>{tmp_path}/calls\n"
        'printf \'{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential",'
        '"status":{"token":"t%s"}}\' "$(wc -l <' + f"{tmp_path}/calls" + ')"\n'
    )
    plugin.chmod(0o755)
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": str(plugin)}}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "c", "user": user}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
    }
    (tmp_path / "config").write_text(json.dumps(config))
    access = await find_access({"KUBECONFIG": str(tmp_path / "config")}, "/nonexistent")
    assert await access.token(False) == "Bearer t1"
    assert set(await asyncio.gather(*(access.token(True) for _ in range(10)))) == {"Bearer t2"}
    plugin.write_text("#!/bin/sh\nexit 1\n")
    assert await access.token(True) == "Bearer t2"
