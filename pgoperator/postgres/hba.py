"""Lines of pg_hba.conf: the operator's lines come first, so no user rule can lock the operator out.

The operator and Patroni connect as `postgres` over the socket, with `peer` authentication of the container's
account. Only the line of `tlsOnly`, which concerns TCP, comes before that one. Order and users are the same
as with Percona's operator.
"""

import ipaddress
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pgoperator.errors import InvalidSpec

REPLICATION_USER = "_crunchyrepl"
POOLER_USER = "_crunchypgbouncer"
MONITOR_USER = "monitor"
LOGICAL_REPLICATION_USER = "logicalrepl"

_CONNECTIONS = ("local", "host", "hostssl", "hostnossl", "hostgssenc", "hostnogssenc")
_INCLUDES = ("include", "include_if_exists", "include_dir")
_METHODS = frozenset(
    (
        *("trust", "reject", "scram-sha-256", "md5", "password", "gss", "sspi", "ident"),
        *("peer", "ldap", "radius", "cert", "pam", "bsd", "oauth"),
    )
)
_ONLY_ON = {"peer": ("local",), "cert": ("hostssl",)}
"""Method -> valid connection types; PostgreSQL rejects the whole file for any other type."""
_FORBIDDEN = re.compile(r"[\n\r\0]")


@dataclass(frozen=True, slots=True)
class Record:
    """One line as data. Empty `databases` or `users` mean all; `address` is not used with `local`.

    In `databases`, `replication` is the keyword; every other entry is a database name.
    """

    connection: str
    method: str
    databases: Sequence[str] = ()
    users: Sequence[str] = ()
    address: str = "all"
    options: Mapping[str, str | int] = field(default_factory=dict)

    def __str__(self) -> str:
        """Render the line in the syntax of pg_hba.conf."""
        parts = [self.connection, _names(self.databases, keyword="replication"), _names(self.users)]
        if self.connection != "local":
            parts.append(self.address)
        parts.append(self.method)
        parts += [f"{name}={_quote(str(value))}" for name, value in sorted(self.options.items())]
        return " ".join(parts)


DEFAULT = Record("hostssl", "scram-sha-256")
NO_PLAIN = Record("hostnossl", "reject")
"""First line with `tlsOnly`: rejects TCP without TLS and leaves the meaning of all other lines unchanged."""


def mandatory(*, pooler: bool = True, logical_replicas: bool = False) -> list[Record]:
    """The operator's records, in the order in which PostgreSQL must match them."""
    replication, monitor, pool = (REPLICATION_USER,), (MONITOR_USER,), (POOLER_USER,)
    records = [
        Record("local", "peer", users=("postgres",)),
        Record("hostssl", "cert", ("replication",), replication),
        Record("hostssl", "cert", ("postgres",), replication),
        Record("host", "reject", users=replication),
        Record("host", "scram-sha-256", users=monitor, address="127.0.0.0/8"),
        Record("host", "scram-sha-256", users=monitor, address="::1/128"),
        Record("host", "reject", users=monitor),
    ]
    if pooler:
        records += [Record("hostssl", "scram-sha-256", users=pool), Record("host", "reject", users=pool)]
    if logical_replicas:
        logical = (LOGICAL_REPLICATION_USER,)
        records += [
            Record("hostssl", "scram-sha-256", ("replication",), logical),
            Record("hostssl", "scram-sha-256", users=logical),
        ]
    return records


def lines(
    rules: Iterable[Any],
    user_hba: Iterable[str],
    tls_only: bool,
    *,
    pooler: bool = True,
    logical_replicas: bool = False,
) -> list[str]:
    """All lines for Patroni's `postgresql.pg_hba`.

    `rules`: `spec.authentication.rules` as mappings or objects with the fields connection, method, databases,
    users, options, or hba (a raw line). `user_hba`: `dynamicConfiguration.postgresql.pg_hba`. Without a line
    from either, the default is SCRAM over TLS for all users. `tls_only` rejects TCP without TLS first.
    `InvalidSpec` names the rule that PostgreSQL would reject: with such a file a reload keeps the old rules,
    and PostgreSQL does not start again after a crash.
    """
    ours = [NO_PLAIN] if tls_only else []
    ours += mandatory(pooler=pooler, logical_replicas=logical_replicas)
    theirs: list[str] = []
    for rule in rules:
        if raw := _get(rule, "hba"):
            theirs += _raw(str(raw))
        else:
            theirs.append(str(_structured(rule)))
    for entry in user_hba:
        theirs += _raw(entry)
    return [str(record) for record in ours] + (theirs or [str(DEFAULT)])


def _structured(rule: Any) -> Record:
    """Convert one rule of the custom resource."""
    options = _get(rule, "options") or {}
    record = Record(
        str(_get(rule, "connection") or "").strip(),
        str(_get(rule, "method") or "").strip(),
        tuple(_get(rule, "databases") or ()),
        tuple(_get(rule, "users") or ()),
        options={str(name): value for name, value in options.items()},
    )
    for text in (*record.databases, *record.users, *record.options, *map(str, record.options.values())):
        if _FORBIDDEN.search(text):
            raise _refused(f"authentication rule: {text!r} contains a line break or NUL character")
    for name in record.options:
        if re.fullmatch(r"[a-z_]+", name) is None:
            raise _refused(f"authentication rule: {name!r} is not a valid option name")
    _check(record.connection, record.method, str(record))
    return record


def _raw(entry: str) -> list[str]:
    """Split a user's text into lines, drop blank lines and comments, and check the fields of the others."""
    kept = []
    for line in re.split(r"[\n\r]+", entry):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        _check_raw(text)
        kept.append(text)
    return kept


def _check_raw(text: str) -> None:
    if "\0" in text or text.endswith("\\"):
        raise _refused(f"pg_hba line {text!r} contains a NUL character or ends with a backslash")
    try:
        fields = shlex.split(text.replace("'", r"\'"), comments=True)
    except ValueError:
        raise _refused(f"pg_hba line {text!r} has an unclosed quote") from None
    if fields[:1] and fields[0] in _INCLUDES:
        return
    # A blank after a comma is part of a list: "all, other" is one field.
    fields = re.sub(r",\s+", ",", "\x1f".join(fields).replace(",\x1f", ",")).split("\x1f")
    if fields[0] not in _CONNECTIONS:
        raise _refused(f"pg_hba line {text!r}: {fields[0]!r} is not a connection type")
    position = 3 if fields[0] == "local" else 4
    if position == 4 and len(fields) > position:  # noqa: PLR2004 - the address is the fourth field
        position += _check_address(fields[3], fields[4], text)
    if len(fields) <= position:
        raise _refused(f"pg_hba line {text!r} has no authentication method")
    _check(fields[0], fields[position], text)
    for option in fields[position + 1 :]:
        if "=" not in option:
            raise _refused(f"pg_hba line {text!r}: option {option!r} does not have the form name=value")


def _check_address(address: str, following: str, text: str) -> int:
    """Check an IP address; return 1 when the next field is its mask, else 0."""
    if re.match(r"[0-9.]+(/|$)|[0-9a-fA-F:]*:", address) is None:
        return 0
    mask = "/" not in address
    try:
        ipaddress.ip_interface(address)
        if mask:
            ipaddress.ip_address(following)
    except ValueError:
        raise _refused(f"pg_hba line {text!r}: {address!r} is not an IP address with a mask") from None
    return int(mask)


def _check(connection: str, method: str, text: str) -> None:
    if connection not in _CONNECTIONS:
        raise _refused(f"pg_hba line {text!r}: {connection!r} is not a connection type")
    if method not in _METHODS:
        raise _refused(f"pg_hba line {text!r}: {method!r} is not an authentication method")
    if connection not in _ONLY_ON.get(method, (connection,)):
        needed = " or ".join(_ONLY_ON[method])
        raise _refused(f"pg_hba line {text!r}: method {method} requires connection type {needed}")


def _get(rule: Any, name: str) -> Any:
    return rule.get(name) if isinstance(rule, Mapping) else getattr(rule, name, None)


def _names(names: Sequence[str], *, keyword: str = "") -> str:
    return ",".join(name if name == keyword else _name(name) for name in names) or "all"


def _name(name: str) -> str:
    """Quote a name, so that `all`, `+role` and `@file` have no special meaning.

    A leading slash starts a regular expression even in quotes, so such a name becomes an expression that
    matches exactly this name.
    """
    if name.startswith("/"):
        return _quote("/^" + re.sub(r"([^A-Za-z0-9_ ])", r"\\\1", name) + "$")
    return _quote(name)


def _refused(message: str) -> InvalidSpec:
    return InvalidSpec(message, reason="AuthenticationRefused")


def _quote(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
