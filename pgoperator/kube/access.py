"""Where the API server is and how to prove who we are: the pod's service account, or a kubeconfig."""

import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgoperator.errors import OperatorError

TOKEN_REREAD = 60.0  # seconds; the kubelet replaces the file at 80 % of the token's hour


class NoAccess(OperatorError):  # noqa: N818 - the name states the fact
    """Neither a service account nor a usable kubeconfig."""


@dataclass(frozen=True, slots=True)
class Access:
    """The server's URL, the TLS context (None for http) and what gives the Authorization header's value.

    `token(refresh)` returns "" when the proof is a client certificate; `refresh=True` after a 401.
    """

    server: str
    tls: ssl.SSLContext | None
    token: Callable[[bool], Awaitable[str]]


class TokenFile:
    """A bearer token in a file that is replaced from time to time."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._read_at = float("-inf")
        self._mtime = 0
        self._value = ""

    async def __call__(self, refresh: bool) -> str:
        """Return "Bearer …"; the file is looked at each minute, or at once when `refresh`."""
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
    """Return the access of the pod that this process runs in, None when it runs in none."""
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

    kubernetes_asyncio knows exec plugins, certificates and the rest, and costs 37 MB: imported only here.
    """
    from kubernetes_asyncio.client import Configuration  # noqa: PLC0415
    from kubernetes_asyncio.config import ConfigException, load_kube_config  # noqa: PLC0415

    configuration = Configuration()

    async def load() -> None:
        try:
            await load_kube_config(config_file=path, client_configuration=configuration)
        except (ConfigException, OSError) as error:
            raise NoAccess(f"no service account, and no usable kubeconfig: {error}") from error

    async def token(refresh: bool) -> str:
        if refresh:
            await load()  # an exec plugin's token ends without notice
        return str(await configuration.get_api_key_with_prefix("BearerToken") or "")

    await load()
    return Access(str(configuration.host).rstrip("/"), _tls(configuration), token)


def _trusting(authority: str | None) -> ssl.SSLContext:
    """A context that trusts `authority` (a file; None = those of the system).

    Python 3.13 asks for extensions that many clusters' own authorities lack; other clients do not, nor do we
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
    """Return the service account's access in a cluster, a kubeconfig's outside; NoAccess when neither."""
    if environ.get("KUBECONFIG"):
        return await from_kubeconfig(environ["KUBECONFIG"])
    return in_cluster(environ, folder) or await from_kubeconfig(None)
