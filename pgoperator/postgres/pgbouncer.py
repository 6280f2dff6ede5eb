"""Configuration of pgBouncer: its INI file and its user list, in the layout of Percona's operator."""

import re
from collections.abc import Mapping

from pgoperator.errors import InvalidSpec
from pgoperator.postgres import ini as ini_file
from pgoperator.postgres import pgbouncer_options
from pgoperator.postgres.hba import POOLER_USER

ADMIN_USER = "_crunchypgbounceradmin"

DIRECTORY = "/etc/pgbouncer"
CONFIG = f"{DIRECTORY}/~postgres-operator.ini"
USER_CONFIG = f"{DIRECTORY}/pgbouncer.ini"
"""File for the user's settings; it must exist, even if it is empty."""
OWN_DIRECTORY = f"{DIRECTORY}/~postgres-operator"
USERS = f"{OWN_DIRECTORY}/users.txt"
BACKEND_CA = f"{OWN_DIRECTORY}/backend-ca.crt"
FRONTEND_CA = f"{OWN_DIRECTORY}/frontend-ca.crt"
FRONTEND_CERT = f"{OWN_DIRECTORY}/frontend-tls.crt"
FRONTEND_KEY = f"{OWN_DIRECTORY}/frontend-tls.key"

PRIMARY = ";; primary"
"""A comment for pgBouncer; for `pgbouncer-outage.sh`, where the server is whose outage it bridges."""

PAUSED = ";; paused"
"""A comment for pgBouncer, but a signal for `pgbouncer-pause.sh`."""

LOOKUP_DATABASE = "postgres"
"""Database in which pgBouncer looks passwords up, whatever database a client asks for."""

_BASE = {
    "admin_users": ADMIN_USER,
    "auth_dbname": LOOKUP_DATABASE,
    "auth_file": USERS,
    "auth_query": "SELECT username, password FROM pgbouncer.get_auth($1)",
    "auth_type": "scram-sha-256",
    "auth_user": POOLER_USER,
    "client_tls_ca_file": FRONTEND_CA,
    "client_tls_cert_file": FRONTEND_CERT,
    "client_tls_key_file": FRONTEND_KEY,
    "client_tls_sslmode": "require",
    "ignore_startup_parameters": "extra_float_digits",
    "listen_addr": "*",
    "server_tls_ca_file": BACKEND_CA,
    "server_tls_sslmode": "verify-full",
    "unix_socket_dir": "",
}
# Lists that a user's setting extends. A list of tracked parameters replaces pgBouncer's own, IntervalStyle.
_MERGED = {
    "admin_users": ADMIN_USER,
    "ignore_startup_parameters": _BASE["ignore_startup_parameters"],
    "track_extra_parameters": "IntervalStyle",
}

_RECOVERY = {
    # Seconds before a pool retries a failed login or connect; until then its clients get the cached error.
    # The default of 15 caused an outage of 15 s with Percona's operator (docs/operations/measurements.md).
    # The maintenance loop runs three times a second, so a lower value has no effect.
    "server_login_retry": "0.5",
    # A pool opens one connection at a time, so a SYN to a dead address blocks all others for this long
    # (default 15). pgBouncer truncates the value to whole seconds for the TCP connect (`connect_server`), but
    # not for connect plus login (`pool_server_maint`): 1 s for TCP, nearly 2 s for a server under load.
    "server_connect_timeout": "1.9",
    # Seconds of idle time after which a connection is checked with a query before a client gets it (default
    # 30): the client then waits for a live server instead of getting a dead connection.
    "server_check_delay": "5",
    # An isolated node does not close its connections. Keepalives detect a dead idle connection after 5 + 3 *
    # 2 s, the user timeout one with unacknowledged data after 10 s: both well before Patroni's lease of 30 s
    # expires, and long enough for a short network disruption.
    "tcp_keepalive": "1",
    "tcp_keepidle": "5",
    "tcp_keepintvl": "2",
    "tcp_keepcnt": "3",
    "tcp_user_timeout": "10000",  # milliseconds
    # The address of the primary's Service rarely changes, but the Service may not exist yet when the pooler
    # starts: a cached negative answer would delay it by 15 s.
    "dns_max_ttl": "5",
    "dns_nxdomain_ttl": "1",
}


def ini(
    *,
    host: str,
    port: int,
    listen_port: int,
    config_global: Mapping[str, str],
    databases: Mapping[str, str],
    users: Mapping[str, str],
    sizes: Mapping[str, str],
    paused: bool = False,
) -> str:
    """Text of pgBouncer's main configuration file.

    `host` and `port`: the primary's Service. `config_global`, `databases`, `users`: `config.*` of the custom
    resource. Global settings override the operator's, but lists (`_MERGED`) keep the operator's entries, and
    `conffile` stays this file. `databases` replaces the wildcard entry, but the database of lookups stays
    reachable. `sizes`: limits (`pgbouncer_sizes`), which the user's settings and file override. `paused`: the
    first line makes the script in the pods pause pgBouncer. Raises InvalidSpec for global settings that
    pgBouncer cannot read.
    """
    pgbouncer_options.check(config_global)
    settings = {**_BASE, **_RECOVERY, "listen_port": str(listen_port)}
    settings |= config_global
    settings |= {name: _joined(ours, settings[name]) for name, ours in _MERGED.items() if name in settings}
    settings["conffile"] = CONFIG
    if "auth_query" in config_global and "auth_dbname" not in config_global:
        # A query of the user runs where it did before: in the database that the client asks for.
        del settings["auth_dbname"]
    primary = f"host={host} port={port}"
    text = ini_file.render(
        {
            "pgbouncer": settings,
            "databases": _with_lookup(databases, settings.get("auth_dbname"), primary) or {"*": primary},
            **({"users": users} if users else {}),
        }
    )
    # The user's file follows the sizes, which it overrides, and the settings below override it. As with
    # Percona's operator, it must not end in another section. A second [pgbouncer] header would not help,
    # because pgBouncer resets all keys to their defaults at the start of a section.
    own = {name: value for name, value in sizes.items() if name not in config_global}
    head = ini_file.render({"pgbouncer": own}).rstrip() if own else "[pgbouncer]"
    text = text.replace("[pgbouncer]\n", f"{head}\n%include {USER_CONFIG}\n", 1)
    if _lead_to(host, port, databases):
        text = f"{PRIMARY} {host} {port}\n{text}"
    return f"{PAUSED}\n{text}" if paused else text


def _lead_to(host: str, port: int, databases: Mapping[str, str]) -> bool:
    """Whether all of the user's entries lead to the primary, so that its outage concerns all clients."""
    wanted = {"host": host, "port": str(port)}
    return all(
        {name: _value(entry, name) or {"port": "5432"}.get(name) for name in wanted} == wanted
        for entry in databases.values()
    )


def users_txt(entries: Mapping[str, str], extra: Mapping[str, str] | None = None) -> str:
    """Text of the user list; `entries`: name -> password or verifier.

    `extra`: entries of the user's Secret. `InvalidSpec` when it contains an account of the operator, or when
    a name or password contains a line break or NUL.
    """
    extra = extra or {}
    if reserved := sorted({*entries, ADMIN_USER, POOLER_USER} & {*extra}):
        raise InvalidSpec(
            f"the users Secret of pgBouncer must not contain the key {reserved[0]!r}: the operator manages it"
        )
    return "".join(
        f"{_quote(name)} {_quote(secret)}\n" for name, secret in (*entries.items(), *extra.items())
    )


def _joined(ours: str, wanted: str) -> str:
    """The user's list after the operator's, without duplicates."""
    names = (name.strip() for name in wanted.split(","))
    return ",".join(dict.fromkeys([ours, *(name for name in names if name)]))


def lookup_database(config_global: Mapping[str, str], databases: Mapping[str, str]) -> str:
    """Database of the server in which pgBouncer looks passwords up; the user may choose another."""
    name = config_global.get("auth_dbname") or LOOKUP_DATABASE
    return _value(databases.get(name, databases.get("*", "")), "dbname") or name


def _value(entry: str, name: str) -> str:
    """A value of an entry in the section `[databases]`, "" without one."""
    found = re.search(rf"(?:^|\s){name}\s*=\s*('(?:[^']|'')*'|\S+)", entry)
    return found[1].strip("'").replace("''", "'") if found else ""


def _with_lookup(databases: Mapping[str, str], lookup: str | None, primary: str) -> dict[str, str]:
    """The user's entries, with one for the database of lookups if none of them leads to it."""
    if not databases or lookup != LOOKUP_DATABASE or {lookup, "*"} & databases.keys():
        return dict(databases)
    return {**databases, lookup: primary}


def _quote(text: str) -> str:
    if any(character in text for character in "\n\r\0"):
        raise InvalidSpec("a pgBouncer account has a line break or NUL character in its name or password")
    return '"' + text.replace('"', '""') + '"'
