"""Passwords: the data of the Secrets of database users and of the pooler.

The only place where passwords are generated. Valid values are kept byte for byte, missing values are
generated.
"""

import secrets
from collections.abc import Callable, Mapping
from urllib.parse import quote

from pgoperator import naming
from pgoperator.api.cluster import PGCluster
from pgoperator.api.pooling import PgBouncer
from pgoperator.api.users import User
from pgoperator.errors import InvalidSpec
from pgoperator.postgres import passwords, pgbouncer, roles, scram, sql

Data = Mapping[str, bytes]
"""The decoded data of a Secret: key -> value."""
DesiredData = Callable[[Data], dict[str, bytes]]
"""The data that a Secret should have, given its present data; InvalidSpec when the user must fix it first."""

USER_PASSWORD_LENGTH = 24
POOLER_PASSWORD_LENGTH = 32

# Keys of a user's Secret that exist only if the user has a database, or the cluster a pooler.
ADDRESSES = frozenset(
    f"{prefix}{key}" for prefix in ("", "pgbouncer-") for key in ("host", "port", "uri", "jdbc-uri")
) | {"dbname"}
AUTHORITIES = "ca.crt"
"""Key of a user's Secret with the CAs by which clients verify the server and pgBouncer."""


def pooler_accounts(
    cluster: str, extra: Mapping[str, str] | None = None, *, keep: bool = False
) -> DesiredData:
    """Accounts of pgBouncer itself and of its administrator, and the list of both with the user's accounts.

    `extra` maps the names of the user's accounts to passwords. `keep`: the user's accounts are not known now;
    the listed accounts stay.
    """

    def desired(old: Data) -> dict[str, bytes]:
        name = naming.pgbouncer(cluster)
        password = text_of(old, "pgbouncer-password", name) or _password("ASCII", POOLER_PASSWORD_LENGTH)
        admin = text_of(old, "pgbouncer-admin-password", name) or _password("ASCII", POOLER_PASSWORD_LENGTH)
        users = pgbouncer.users_txt(
            {naming.POOLER_USER: password, naming.POOLER_ADMIN: admin}, extra
        ).encode()
        listed = old.get("pgbouncer-users.txt", b"")
        return dict(old) | {
            "pgbouncer-password": password.encode(),
            "pgbouncer-verifier": _verifier(old.get("pgbouncer-verifier", b""), password),
            "pgbouncer-admin-password": admin.encode(),
            "pgbouncer-users.txt": listed if keep and listed.startswith(users) else users,
        }

    return desired


def user_secret(cluster: PGCluster, user: User, authorities: bytes | None = None) -> DesiredData:
    """A database user's credentials, and the addresses and URIs with which applications connect.

    `authorities`: the CAs that clients need, None while they are not known.
    """
    kind = user.password.type if user.password else "ASCII"

    def desired(old: Data) -> dict[str, bytes]:
        secret = user.secret_name or naming.user_secret(cluster.metadata.name, user.name)
        password = text_of(old, "password", secret) or _password(kind, USER_PASSWORD_LENGTH)
        text = {"user": user.name, "password": password} | _addresses(cluster, user, password)
        verifier = {"verifier": _verifier(old.get("verifier", b""), password)}
        # Keys that others added stay; outdated addresses are removed.
        kept = {key: value for key, value in old.items() if key not in ADDRESSES}
        trusted = {} if authorities is None else {AUTHORITIES: authorities}
        return kept | {key: value.encode() for key, value in text.items()} | verifier | trusted

    return desired


def _addresses(cluster: PGCluster, user: User, password: str) -> dict[str, str]:
    """Hosts, ports and URIs of a user's Secret; `dbname` and the URIs only if the user has a database."""
    metadata, spec = cluster.metadata, cluster.spec
    host, port = f"{naming.primary(metadata.name)}.{metadata.namespace}.svc", str(spec.port)
    databases = user.databases or (["postgres"] if user.name == "postgres" else [])
    database = databases[0] if databases else ""
    result = {"host": host, "port": port}
    if database:
        result |= {"dbname": database, **_uris("", user.name, password, f"{host}:{port}", database)}
    if cluster.spec.pg_bouncer is not None and _is_pooled(cluster.spec.pg_bouncer, user):
        host, port = (
            f"{naming.pgbouncer(metadata.name)}.{metadata.namespace}.svc",
            str(cluster.spec.pg_bouncer.port),
        )
        result |= {"pgbouncer-host": host, "pgbouncer-port": port}
        if database:
            result |= _uris("pgbouncer-", user.name, password, f"{host}:{port}", database)
    return result


def _is_pooled(pooler: PgBouncer, user: User) -> bool:
    """Whether pgBouncer may let the user in: an address that refuses the user is not offered."""
    if pooler.users_secret is not None:
        # The user's own list may have any account.
        return True
    if user.name in (sql.SUPERUSER, naming.MONITOR_USER):
        return pooler.expose_superusers
    try:
        attributes = dict(roles.parse_options(user.options))
    except InvalidSpec:
        return True
    if attributes.get("rolreplication"):
        return False
    return pooler.expose_superusers or not attributes.get("rolsuper")


def _uris(prefix: str, user: str, password: str, address: str, database: str) -> dict[str, str]:
    name, secret, db = (quote(text, safe="") for text in (user, password, database))
    # pgBouncer shares server connections, so the driver must not rely on its prepared statements.
    prepare = "&prepareThreshold=0" if prefix else ""
    return {
        f"{prefix}uri": f"postgresql://{name}:{secret}@{address}/{db}",
        f"{prefix}jdbc-uri": f"jdbc:postgresql://{address}/{db}?password={secret}&user={name}{prepare}",
    }


def text_of(old: Data, key: str, secret: str) -> str:
    """A password as text, "" without one; InvalidSpec for other bytes, which are never replaced."""
    try:
        return old.get(key, b"").decode()
    except UnicodeDecodeError as error:
        raise InvalidSpec(
            f"Secret {secret!r}: the value of {key!r} is not UTF-8; set a valid password, or remove the key "
            "to have a password generated",
            reason="SecretInvalid",
        ) from error


def _password(kind: str, length: int) -> str:
    return passwords.generate("AlphaNumeric" if kind == "AlphaNumeric" else "ASCII", length, secrets.choice)


def _verifier(old: bytes, password: str) -> bytes:
    """The old verifier while it matches the password, else a new one: changing the password is enough."""
    if scram.matches(old.decode(errors="replace"), password):
        return old
    return scram.verifier(password, secrets.token_bytes(16)).encode()
