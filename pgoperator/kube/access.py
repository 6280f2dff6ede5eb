"""Address and credentials of the API server, from the pod's service account or from a kubeconfig."""

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgoperator.errors import OperatorError

RELOAD = 5.0  # seconds in which a kubeconfig is loaded once at most
TOKEN_REREAD = 60.0  # seconds; the kubelet replaces the file at 80 % of the token's hour


class NoAccess(OperatorError):  # noqa: N818 - the name states the fact
    """There is neither a service account nor a usable kubeconfig."""


@dataclass(frozen=True, slots=True)
class Access:
    """The server's URL, the TLS context (None for http) and the source of the Authorization header.

    `token(refresh)` returns the header's value, "" with a client certificate; `refresh=True` after a 401.
    `server_name`: the name in the server's certificate, if it is not the URL's host. `proxy`: URL of an HTTP
    proxy.
    """

    server: str
    tls: ssl.SSLContext | None
    token: Callable[[bool], Awaitable[str]]
    server_name: str | None = None
    proxy: str | None = None


class TokenFile:
    """A bearer token in a file that the kubelet rotates."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._read_at = float("-inf")
        self._mtime = 0
        self._value = ""

    async def __call__(self, refresh: bool) -> str:
        """Return "Bearer …"; the file is checked every minute, or immediately with `refresh`."""
        now = self._clock()
        if refresh or now - self._read_at >= TOKEN_REREAD:
            # A stat and a read of one page in memory: not worth a thread.
            mtime = self._path.stat().st_mtime_ns
            if mtime != self._mtime or refresh:
                self._value = "Bearer " + self._path.read_text(encoding="ascii").strip()
                self._mtime = mtime
            self._read_at = now
        return self._value


def in_cluster(environ: Mapping[str, str], folder: str) -> Access | None:
    """Return the access of the service account in `folder`, None outside a pod."""
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT")
    token = Path(folder, "token")
    if not host or not port or not token.is_file():
        return None
    if ":" in host:
        host = f"[{host}]"
    tls = _trusting(str(Path(folder, "ca.crt")))
    return Access(f"https://{host}:{port}", tls, TokenFile(token))


async def from_kubeconfig(path: str | None) -> Access:
    """Return the access of a kubeconfig's current context; `path` None = ~/.kube/config.

    NoAccess when it cannot be used. kubernetes_asyncio supports exec plugins and certificates, but needs 34
    MiB of memory, so only this function imports it.
    """
    from kubernetes_asyncio.client import Configuration  # noqa: PLC0415
    from kubernetes_asyncio.config import load_kube_config  # noqa: PLC0415

    configuration = Configuration()
    loading = asyncio.Lock()
    loaded = float("-inf")

    async def load() -> None:
        try:
            await load_kube_config(config_file=path, client_configuration=configuration)
        except Exception as error:  # the file can be invalid in many ways, and an exec plugin can fail
            raise NoAccess(f"no service account and no usable kubeconfig: {error}") from error

    async def token(refresh: bool) -> str:
        nonlocal loaded
        if refresh:
            # The token of an exec plugin can expire at any time. All watches then get a 401 at the same time,
            # and one call of the plugin is enough for all of them.
            async with loading:
                if time.monotonic() - loaded > RELOAD:
                    await load()
                    loaded = time.monotonic()
        return str(await configuration.get_api_key_with_prefix("BearerToken") or "")

    await load()
    return Access(
        str(configuration.host).rstrip("/"),
        _tls(configuration),
        token,
        server_name=configuration.tls_server_name or None,
        proxy=configuration.proxy or None,
    )


def _trusting(authority: str | None) -> ssl.SSLContext:
    """Return a context that trusts `authority` (a file; None = the system's CAs).

    Python 3.13 requires extensions that the CAs of many clusters lack. Other clients do not require them
    (https://docs.python.org/3/library/ssl.html#ssl.VERIFY_X509_STRICT).
    """
    context = ssl.create_default_context(cafile=authority)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def _tls(configuration: Any) -> ssl.SSLContext | None:
    if not str(configuration.host).startswith("https:"):
        return None
    context = _trusting(configuration.ssl_ca_cert or None)
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file)
    return context


async def find_access(environ: Mapping[str, str], folder: str) -> Access:
    """Return the access of KUBECONFIG, the service account or ~/.kube/config; NoAccess without any."""
    if environ.get("KUBECONFIG"):
        return await from_kubeconfig(environ["KUBECONFIG"])
    return in_cluster(environ, folder) or await from_kubeconfig(None)
