"""Configuration files of pgBackRest for the instances and for the repository host.

Instances push and get WAL, the repository host takes backups, and both run a TLS server. Names of files and
sections and the paths are those of Percona's operator. Each function returns the complete text of a file.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pgoperator.postgres import ini
from pgoperator.postgres.parameters import SOCKET_DIRECTORY

STANZA = "db"
CONFIG_HASH = "/etc/pgbackrest/conf.d/config-hash"
"""The mounted file with the digest of the repositories in the configuration."""
PORT = 8432
"""Port of the TLS server: pgBackRest's default, so no file contains it."""

CLIENT_DIRECTORY = "/etc/pgbackrest/conf.d/~postgres-operator"
"""Contains tls-ca.crt, client-tls.crt and client-tls.key."""
SERVER_DIRECTORY = "/etc/pgbackrest/server"
"""Contains server-tls.crt and server-tls.key."""
INSTANCE_LOG_PATH = "/pgdata/pgbackrest/log"
SPOOL_PATH = "/pgdata/pgbackrest-spool"

QUICK = ("--io-timeout=5", "--db-timeout=10", "--protocol-timeout=15")
"""Options for commands during a pass: a quick failure and a retry are better than a blocked pass."""

_LIMITS = {
    # Seconds. With the default of 60, an S3 endpoint that refused connections blocked one stanza-create for
    # nine minutes, because pgBackRest also retries.
    "io-timeout": "15",
    # The longest statement is the immediate checkpoint at the start of a backup (`start-fast`); default 1800.
    "db-timeout": "600",
    "protocol-timeout": "660",  # must be longer than db-timeout
    "archive-timeout": "60",
    # Detects a lost peer within 20 s, unless unacknowledged data is in flight.
    "tcp-keep-alive-idle": "5",
    "tcp-keep-alive-interval": "5",
    "tcp-keep-alive-count": "3",
}
# For commands that transfer one file and that PostgreSQL retries: a silent peer, such as one on an isolated
# node, must not block archiving for the eleven minutes that `protocol-timeout` allows a backup.
_SINGLE_FILE_LIMITS = {"db-timeout": "20", "protocol-timeout": "60"}
# The repository host ends a session after this time without data: the session of a primary that died during a
# push holds a lock that every push needs. A client sends keepalives at half of its own protocol-timeout, so a
# restore needs a limit as well. A backup does not use the server of the repository host.
_INSTANCE_LIMITS = {
    "global:archive-get": _SINGLE_FILE_LIMITS,
    "global:archive-push": _SINGLE_FILE_LIMITS,
    "global:restore": {"protocol-timeout": "120"},
}
_HOST_LIMITS = {"global:server": {"protocol-timeout": "150"}}
_FORBIDDEN = re.compile(
    r"stanza|cmd|config(-.*)?|spool-path|lock-path|tls-server-.*|pg\d+-.*|repo\d+-host(-.*)?|repo\d+-type"
)
_REPO_OPTION = re.compile(r"(repo\d+)-")
_PLACE = re.compile(
    r"repo\d+-(path|cipher-type|s3-(bucket|endpoint|region)|gcs-(bucket|endpoint)|azure-(account|container|endpoint))"
)
_REPO_NAME = re.compile(r"repo[1-4]")
UNCONFIRMED = "unconfirmed"
"""The digest of repositories that may belong to another cluster: no repositories have this digest."""


@dataclass(frozen=True, slots=True)
class Repo:
    """A repository.

    `options`: option names without the prefix: bucket, endpoint and region (s3), bucket (gcs), container
    (azure).
    """

    name: str
    type: Literal["volume", "s3", "gcs", "azure"]
    options: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise ValueError for a name that pgBackRest has no options for."""
        if _REPO_NAME.fullmatch(self.name) is None:
            raise ValueError(f"repository name {self.name!r} is not one of repo1 to repo4")


def archive_command(repositories: str, script: str = "") -> str:
    """Return the command that pushes one segment and exits with the status of the push.

    It fails unless the mounted configuration is that of the `repositories` with this digest: the repositories
    of another configuration may belong to another cluster. `script`: path of `pgbackrest-push.sh`, which also
    reports the time of the last commit.
    """
    if script:
        return f'bash {script} "%p" {repositories}'
    check = f'[ "$(cat {CONFIG_HASH})" = {repositories} ]'
    return f'{check} && pgbackrest --stanza={STANZA} archive-push "%p"'


def restore_command(repo: str | None = None) -> str:
    """Return the command that gets one segment from `repo` (such as `repo2`) or from the first match."""
    only = f" --repo={repo.removeprefix('repo')}" if repo else ""
    return f'pgbackrest --stanza={STANZA}{only} archive-get %f "%p"'


def place(repo: str, options: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return the options in `spec.backups.pgbackrest.global` that determine where a repository is."""
    own = [(name, value) for name, value in options.items() if name.startswith(f"{repo}-")]
    return tuple(sorted((name, value) for name, value in own if _PLACE.fullmatch(name)))


def forbidden(options: Iterable[str]) -> list[str]:
    """Sorted names in `spec.backups.pgbackrest.global` without effect, because the operator sets them."""
    return sorted(name for name in options if _FORBIDDEN.fullmatch(name))


def is_of_other_repo(option: str, repo: str) -> bool:
    """Whether an option configures another repository than `repo` (such as `repo2`)."""
    prefix = _REPO_OPTION.match(option)
    return prefix is not None and prefix[1] != repo


def without_other_repos(text: str, repo: str) -> str:
    """Return the text of a configuration file without the options, such as keys, of other repositories.

    Also without those in comments.
    """
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if not is_of_other_repo(line.lstrip("#; \t"), repo))


def instance_conf(
    *,
    repos: Sequence[Repo],
    repo_host: str | None,
    pg_path: str,
    pg_port: int,
    overrides: Mapping[str, str],
    confirmed: bool = True,
    wal_encryption: bool = False,
) -> str:
    """Text of `pgbackrest_instance.conf`.

    `repo_host`: DNS name of the repository host, None without volume repositories. `overrides`:
    `spec.backups.pgbackrest.global`; it overrides all settings except `forbidden` names. `confirmed`: whether
    the repositories are this cluster's own; `archive-get.sh` reads no others. `wal_encryption`: WAL is
    encrypted by pg_tde, so pgBackRest cannot verify WAL headers and page checksums.
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
    text = ini.render({"global": settings | _allowed(overrides), **commands, STANZA: stanza})
    return text if confirmed else f"# {UNCONFIRMED}\n{text}"


def repo_conf(
    *, repos: Sequence[Repo], hosts: Sequence[tuple[str, int, str]], overrides: Mapping[str, str]
) -> str:
    """Text of `pgbackrest_repo.conf`.

    `hosts`: DNS name, PostgreSQL port and data directory of each instance.
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


def server_conf(*, client_cn: str, ipv6: bool = False, stanza: str = "*") -> str:
    """Text of `~postgres-operator_server.conf`, the same for instances and repository host.

    The client certificate with the common name `client_cn` gives access to `stanza`. The repositories of a
    host are its cluster's own, so its clients need not name one: `pgbackrest info` works as it is.
    """
    tls = {
        "tls-server-address": "::" if ipv6 else "0.0.0.0",  # noqa: S104 - all addresses of the pod
        "tls-server-auth": f"{client_cn}={stanza}",
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
        # Bundles small files: an empty cluster has 1,300, which would each need a sync or a request.
        settings[f"{repo.name}-bundle"] = "y"
        if repo.type != "volume":
            settings[f"{repo.name}-type"] = repo.type
            settings |= {f"{repo.name}-{repo.type}-{name}": value for name, value in repo.options.items()}
    return settings


def _host(prefix: str, host: str) -> dict[str, str]:
    """Settings to connect to another host over TLS with the cluster's client certificate."""
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
    """Return the sections without any user setting: the limits of a section depend on each other."""
    return {name: limits for name, limits in sections.items() if limits.keys().isdisjoint(overrides)}


def _allowed(overrides: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in overrides.items() if not _FORBIDDEN.fullmatch(name)}
