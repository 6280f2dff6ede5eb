"""Configuration of pgBouncer: its INI file and its list of accounts (`objects.md` §4)."""

from collections.abc import Mapping

from pgoperator.errors import InvalidSpec
from pgoperator.postgres import ini as ini_file
from pgoperator.postgres.hba import POOLER_USER

ADMIN_USER = "_crunchypgbounceradmin"

DIRECTORY = "/etc/pgbouncer"
CONFIG = f"{DIRECTORY}/~postgres-operator.ini"
USER_CONFIG = f"{DIRECTORY}/pgbouncer.ini"
"""The user's own file, which must exist, if only empty."""
OWN_DIRECTORY = f"{DIRECTORY}/~postgres-operator"
USERS = f"{OWN_DIRECTORY}/users.txt"
BACKEND_CA = f"{OWN_DIRECTORY}/backend-ca.crt"
FRONTEND_CA = f"{OWN_DIRECTORY}/frontend-ca.crt"
FRONTEND_CERT = f"{OWN_DIRECTORY}/frontend-tls.crt"
FRONTEND_KEY = f"{OWN_DIRECTORY}/frontend-tls.key"

PAUSED = ";; paused"
"""A comment to pgBouncer; `pgbouncer-pause.sh` acts on it."""

_BASE = {
    "admin_users": ADMIN_USER,
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

_RECOVERY = {
    # Seconds until a pool whose last login or connect failed tries again; until then its clients get the
    # cached error. The default of 15 is what an outage of 15 s through the original is made of
    # (`baseline.md`). The maintenance loop turns three times a second, so less than this gains nothing.
    "server_login_retry": "0.5",
    # A pool opens one connection at a time: a SYN that a dead address never answers blocks all others for so
    # long (default 15). pgBouncer cuts it to whole seconds for TCP's part (`connect_server`), but not for TCP
    # and login together (`pool_server_maint`): one second, and nearly two for a server under load.
    "server_connect_timeout": "1.9",
    # An idle connection is tried with a query before a client gets it, when it has been idle for longer than
    # this (default 30); a client that would have met the dead server waits instead for a live one.
    "server_check_delay": "5",
    # Of a node cut off nobody says good-bye. Idle connections are found dead by keepalives after 5 + 3 * 2 s,
    # those with unanswered data after 10 s: both well before Patroni's lease of 30 s has made a new primary,
    # and long enough for an ordinary hiccup of the network.
    "tcp_keepalive": "1",
    "tcp_keepidle": "5",
    "tcp_keepintvl": "2",
    "tcp_keepcnt": "3",
    "tcp_user_timeout": "10000",  # milliseconds
    # The name of the primary's Service hardly ever changes its address, but it may not exist yet when the
    # pooler starts: a cached "no such name" would hold it for 15 s.
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
    paused: bool = False,
) -> str:
    """Text of the file that pgBouncer is started with.

    `host` and `port`: the primary's Service. `config_global`, `databases`, `users`: `config.*` of the custom
    resource; global settings win over ours, but the operator's account stays an administrator and `conffile`
    stays this file. `databases` replaces the entry for all.
    `paused`: the first line is that by which the pods' script knows that queries are to be held back.
    """
    settings = {**_BASE, **_RECOVERY, "listen_port": str(listen_port)}
    settings |= config_global
    settings |= {"admin_users": _admins(settings["admin_users"]), "conffile": CONFIG}
    text = ini_file.render(
        {
            "pgbouncer": settings,
            "databases": databases or {"*": f"host={host} port={port}"},
            **({"users": users} if users else {}),
        }
    )
    # The user's file comes first, so that ours wins; as with the original it must not end in another section.
    # A second header would not help: pgBouncer starts every section with the defaults of all its keys.
    text = text.replace("[pgbouncer]\n", f"[pgbouncer]\n%include {USER_CONFIG}\n", 1)
    return f"{PAUSED}\n{text}" if paused else text


def users_txt(entries: Mapping[str, str], extra: Mapping[str, str] | None = None) -> str:
    """Text of the list of accounts: name -> password or verifier.

    `extra`: what the user's own Secret adds. `InvalidSpec` when it has an account of the operator, or a line
    break anywhere.
    """
    extra = extra or {}
    if reserved := sorted({*entries, ADMIN_USER, POOLER_USER} & {*extra}):
        raise InvalidSpec(f"the users Secret of pgBouncer must not have the key {reserved[0]!r}")
    return "".join(
        f"{_quote(name)} {_quote(secret)}\n" for name, secret in (*entries.items(), *extra.items())
    )


def _admins(wanted: str) -> str:
    """Keep the operator's account in the list."""
    names = (name.strip() for name in wanted.split(","))
    return ",".join(dict.fromkeys([ADMIN_USER, *(name for name in names if name)]))


def _quote(text: str) -> str:
    if any(character in text for character in "\n\r\0"):
        raise InvalidSpec("an account of pgBouncer has a line break or NUL in its name or password")
    return '"' + text.replace('"', '""') + '"'
