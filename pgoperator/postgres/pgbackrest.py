"""Configuration of pgBackRest: instances push and get, the repository host backs up, both serve TLS.

Files, sections and paths are those of `objects.md` §3.1. Every text is whole: it replaces the file.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pgoperator.postgres import ini
from pgoperator.postgres.parameters import SOCKET_DIRECTORY

STANZA = "db"
PORT = 8432
"""Of the TLS server; pgBackRest's own default, so no file names it."""

CLIENT_DIRECTORY = "/etc/pgbackrest/conf.d/~postgres-operator"
"""Holds tls-ca.crt, client-tls.crt and client-tls.key."""
SERVER_DIRECTORY = "/etc/pgbackrest/server"
"""Holds server-tls.crt and server-tls.key."""
INSTANCE_LOG_PATH = "/pgdata/pgbackrest/log"
SPOOL_PATH = "/pgdata/pgbackrest-spool"

QUICK = ("--io-timeout=5", "--db-timeout=10", "--protocol-timeout=15")
"""Options for commands that an operator's pass waits for: better a clear failure and another try."""

_LIMITS = {
    # Seconds. With the default of 60 and retries on top, a storage endpoint that refuses connections held one
    # stanza-create for nine minutes (`testbed/README.md`).
    "io-timeout": "15",
    # The longest statement is the start of a backup, with `start-fast` an immediate checkpoint; default 1800.
    "db-timeout": "600",
    "protocol-timeout": "660",  # must be longer than db-timeout
    "archive-timeout": "60",
    # Of a peer that is gone without a word one learns within 20 s, unless an answer to it is under way.
    "tcp-keep-alive-idle": "5",
    "tcp-keep-alive-interval": "5",
    "tcp-keep-alive-count": "3",
}
# One file at a time, and PostgreSQL comes again: a peer that fell silent, as on a node that is cut off, must
# not hold the archive for the eleven minutes that a step of a backup may take.
_SINGLE_FILE_LIMITS = {"db-timeout": "20", "protocol-timeout": "60"}
# The repository host ends a session that is silent for so long. That of a primary that died while it pushed
# holds a lock that every push needs. Clients speak in half of their own limit, so a restore has one, too;
# no backup asks the repository host.
_INSTANCE_LIMITS = {
    "global:archive-get": _SINGLE_FILE_LIMITS,
    "global:archive-push": _SINGLE_FILE_LIMITS,
    "global:restore": {"protocol-timeout": "120"},
}
_HOST_LIMITS = {"global:server": {"protocol-timeout": "150"}}
_FORBIDDEN = re.compile(
    r"stanza|cmd|config(-.*)?|spool-path|lock-path|tls-server-.*|pg\d+-.*|repo\d+-host(-.*)?|repo\d+-type"
)
_REPO_NAME = re.compile(r"repo[1-4]")


@dataclass(frozen=True, slots=True)
class Repo:
    """A repository.

    `options` are named without prefix: bucket, endpoint, region (s3), bucket (gcs) or container (azure).
    """

    name: str
    type: Literal["volume", "s3", "gcs", "azure"]
    options: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a name that pgBackRest has no options for."""
        if _REPO_NAME.fullmatch(self.name) is None:
            raise ValueError(f"a repository is called repo1 to repo4, not {self.name!r}")


def archive_command(script: str = "") -> str:
    """Push one segment; PostgreSQL must see the status of the push and of nothing after it.

    `script`: path of `pgbackrest-push.sh`, which tells the time of the last commit besides.
    """
    return f'bash {script} "%p"' if script else f'pgbackrest --stanza={STANZA} archive-push "%p"'


def restore_command(repo: str | None = None) -> str:
    """Get one segment, from the given repository (`repo2`) or from the first that has it."""
    only = f" --repo={repo.removeprefix('repo')}" if repo else ""
    return f'pgbackrest --stanza={STANZA}{only} archive-get %f "%p"'


def forbidden(options: Iterable[str]) -> list[str]:
    """Names in `spec.backups.pgbackrest.global` that have no effect, as the operator owns them, sorted."""
    return sorted(name for name in options if _FORBIDDEN.fullmatch(name))


def instance_conf(
    *,
    repos: Sequence[Repo],
    repo_host: str | None,
    pg_path: str,
    pg_port: int,
    overrides: Mapping[str, str],
    wal_encryption: bool = False,
) -> str:
    """Text of `pgbackrest_instance.conf`.

    `repo_host`: full DNS name of the host with the volume repositories, None when there is none. `overrides`:
    `spec.backups.pgbackrest.global`, which wins but for `forbidden` names. `wal_encryption`: by pg_tde; what
    pgBackRest would otherwise look into, it cannot read then.
    """
    settings = {
        **_common(repos),
        "archive-async": "n" if wal_encryption else "y",
        "log-path": INSTANCE_LOG_PATH,
        "spool-path": SPOOL_PATH,
    }
    if wal_encryption:
        settings |= {"archive-header-check": "n", "checksum-page": "n"}
    for repo in repos:
        if repo.type == "volume" and repo_host is not None:
            settings |= _host(f"{repo.name}-host", repo_host) | {f"{repo.name}-host-user": "postgres"}
    stanza = {"pg1-path": pg_path, "pg1-port": str(pg_port), "pg1-socket-path": SOCKET_DIRECTORY}
    commands = _unless(overrides, _INSTANCE_LIMITS)
    return ini.render({"global": settings | _allowed(overrides), **commands, STANZA: stanza})


def repo_conf(
    *, repos: Sequence[Repo], hosts: Sequence[tuple[str, int, str]], overrides: Mapping[str, str]
) -> str:
    """Text of `pgbackrest_repo.conf`.

    `hosts`: full DNS name, PostgreSQL's port and data path of each instance.
    """
    volumes = [repo.name for repo in repos if repo.type == "volume"]
    log = {"log-path": f"/pgbackrest/{volumes[0]}/log"} if volumes else {"log-level-file": "off"}
    stanza: dict[str, str] = {}
    for index, (host, port, path) in enumerate(hosts, start=1):
        stanza |= _host(f"pg{index}-host", host) | {
            f"pg{index}-path": path,
            f"pg{index}-port": str(port),
            f"pg{index}-socket-path": SOCKET_DIRECTORY,
        }
    commands = _unless(overrides, _HOST_LIMITS)
    return ini.render({"global": _common(repos) | log | _allowed(overrides), **commands, STANZA: stanza})


def server_conf(*, client_cn: str, ipv6: bool = False) -> str:
    """Text of `~postgres-operator_server.conf`, the same on both sides.

    A client that shows `client_cn` may do what concerns the stanza of this cluster, and nothing else.
    """
    tls = {
        "tls-server-address": "::" if ipv6 else "0.0.0.0",  # noqa: S104 - the pod's own network is the border
        "tls-server-auth": f"{client_cn}={STANZA}",
        "tls-server-ca-file": f"{CLIENT_DIRECTORY}/tls-ca.crt",
        "tls-server-cert-file": f"{SERVER_DIRECTORY}/server-tls.crt",
        "tls-server-key-file": f"{SERVER_DIRECTORY}/server-tls.key",
    }
    logs = {
        "log-level-console": "detail",
        "log-level-file": "off",
        "log-level-stderr": "error",
        "log-timestamp": "n",
    }
    return ini.render({"global": tls, "global:server": logs})


def _common(repos: Iterable[Repo]) -> dict[str, str]:
    """Settings that instances and the repository host share."""
    settings = {**_LIMITS, "start-fast": "y"}
    for repo in repos:
        settings[f"{repo.name}-path"] = f"/pgbackrest/{repo.name}"
        # Small files together: an empty cluster has 1,300, each else to be synced, or sent in a request.
        settings[f"{repo.name}-bundle"] = "y"
        if repo.type != "volume":
            settings[f"{repo.name}-type"] = repo.type
            settings |= {f"{repo.name}-{repo.type}-{name}": value for name, value in repo.options.items()}
    return settings


def _host(prefix: str, host: str) -> dict[str, str]:
    """Settings to reach another host by TLS with the cluster's client certificate."""
    return {
        prefix: host,
        f"{prefix}-type": "tls",
        f"{prefix}-ca-file": f"{CLIENT_DIRECTORY}/tls-ca.crt",
        f"{prefix}-cert-file": f"{CLIENT_DIRECTORY}/client-tls.crt",
        f"{prefix}-key-file": f"{CLIENT_DIRECTORY}/client-tls.key",
    }


def _unless(
    overrides: Mapping[str, str], sections: Mapping[str, Mapping[str, str]]
) -> dict[str, Mapping[str, str]]:
    """Sections of which the user has set nothing: whole ones, as one limit must be less than another."""
    return {name: limits for name, limits in sections.items() if limits.keys().isdisjoint(overrides)}


def _allowed(overrides: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in overrides.items() if not _FORBIDDEN.fullmatch(name)}
