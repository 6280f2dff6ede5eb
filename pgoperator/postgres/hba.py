"""Lines of pg_hba.conf: the operator's own first, so that no rule of a user can lock it out.

A line lets the container's own account in as `postgres` over the socket: that is how the operator and Patroni
talk to the server. Only the one of `tlsOnly`, which is about TCP, comes before it. Order and users are those
of `objects.md` §2.3.
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
"""Method -> connection types; PostgreSQL refuses the whole file for any other."""
_FORBIDDEN = re.compile(r"[\n\r\0]")


@dataclass(frozen=True, slots=True)
class Record:
    """One line as data. Empty `databases` or `users` mean all; `address` is not used with `local`.

    `replication` in `databases` is the keyword, every other entry a name.
    """

    connection: str
    method: str
    databases: Sequence[str] = ()
    users: Sequence[str] = ()
    address: str = "all"
    options: Mapping[str, str | int] = field(default_factory=dict)

    def __str__(self) -> str:
        """Write the line in the grammar of pg_hba.conf."""
        parts = [self.connection, _names(self.databases, keyword="replication"), _names(self.users)]
        if self.connection != "local":
            parts.append(self.address)
        parts.append(self.method)
        parts += [f"{name}={_quote(str(value))}" for name, value in sorted(self.options.items())]
        return " ".join(parts)


DEFAULT = Record("hostssl", "scram-sha-256")
NO_PLAIN = Record("hostnossl", "reject")
"""First of all with `tlsOnly`: what has no TLS ends here, and every other line keeps its meaning."""


def mandatory(*, pooler: bool = True, logical_replicas: bool = False) -> list[Record]:
    """The operator's records, in the order PostgreSQL must try them."""
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
    """The whole list for Patroni's `postgresql.pg_hba`.

    `rules`: `spec.authentication.rules` as mappings or objects with the fields connection, method, databases,
    users, options, or hba (a raw line). `user_hba`: `dynamicConfiguration.postgresql.pg_hba`. The default,
    SCRAM over TLS for everybody, stands only where neither adds a line. `tls_only` rejects TCP without TLS
    before all of them. `InvalidSpec` names the rule that PostgreSQL would refuse: it would keep the old file
    on reload, and not start again after a crash.
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
    """Read one rule of the custom resource."""
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
            raise _refused(f"authentication rule: {text!r} has a line break or NUL")
    for name in record.options:
        if re.fullmatch(r"[a-z_]+", name) is None:
            raise _refused(f"authentication rule: {name!r} cannot be the name of an option")
    _check(record.connection, record.method, str(record))
    return record


def _raw(entry: str) -> list[str]:
    """Split a user's text into lines, check each as far as its fields go, drop blank ones and comments."""
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
        raise _refused(f"pg_hba line {text!r} has NUL or ends with a backslash")
    try:
        words = shlex.split(text.replace("'", r"\'"), comments=True)
    except ValueError:
        raise _refused(f"pg_hba line {text!r} has an unclosed quote") from None
    if words[:1] and words[0] in _INCLUDES:
        return
    # Blanks after a comma belong to the list: "all, other" is one field.
    words = re.sub(r",\s+", ",", "\x1f".join(words).replace(",\x1f", ",")).split("\x1f")
    if words[0] not in _CONNECTIONS:
        raise _refused(f"pg_hba line {text!r}: {words[0]!r} is not a type of connection")
    position = 3 if words[0] == "local" else 4
    if position == 4 and len(words) > position:  # noqa: PLR2004 - the field of the address is the fourth
        position += _check_address(words[3], words[4], text)
    if len(words) <= position:
        raise _refused(f"pg_hba line {text!r} ends before its method")
    _check(words[0], words[position], text)
    for option in words[position + 1 :]:
        if "=" not in option:
            raise _refused(f"pg_hba line {text!r}: option {option!r} is not of the form name=value")


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
        raise _refused(f"pg_hba line {text!r}: {address!r} is not an address with a mask") from None
    return int(mask)


def _check(connection: str, method: str, text: str) -> None:
    if connection not in _CONNECTIONS:
        raise _refused(f"pg_hba line {text!r}: {connection!r} is not a type of connection")
    if method not in _METHODS:
        raise _refused(f"pg_hba line {text!r}: {method!r} is not an authentication method")
    if connection not in _ONLY_ON.get(method, (connection,)):
        raise _refused(f"pg_hba line {text!r}: method {method} needs {' or '.join(_ONLY_ON[method])}")


def _get(rule: Any, name: str) -> Any:
    return rule.get(name) if isinstance(rule, Mapping) else getattr(rule, name, None)


def _names(names: Sequence[str], *, keyword: str = "") -> str:
    return ",".join(name if name == keyword else _name(name) for name in names) or "all"


def _name(name: str) -> str:
    """Quote a name, which takes the special meaning from `all`, `+role` and `@file`.

    A leading slash starts a regular expression even in quotes: such a name becomes one that matches itself.
    """
    if name.startswith("/"):
        return _quote("/^" + re.sub(r"([^A-Za-z0-9_ ])", r"\\\1", name) + "$")
    return _quote(name)


def _refused(message: str) -> InvalidSpec:
    return InvalidSpec(message, reason="AuthenticationRefused")


def _quote(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
