"""The psql script that reconciles roles, databases, grants and extensions; `sql_report` reads its output.

Pass it through standard input to `psql -X -q -v ON_ERROR_STOP=1 -f -` in a database container, as the
superuser `postgres` over the local socket, so that no verifier is on a command line. The SQL files are next
to this module. A run without differences writes nothing: it takes no transaction id and changes no commit
time.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from pgoperator.errors import InvalidSpec
from pgoperator.postgres import parameters
from pgoperator.postgres.extensions import BUILT_IN, ONLY_IN_POSTGRES
from pgoperator.postgres.hba import MONITOR_USER, POOLER_USER
from pgoperator.postgres.pgbouncer import LOOKUP_DATABASE
from pgoperator.postgres.quoting import check_name, psql_set, quote_literal
from pgoperator.postgres.roles import parse_options
from pgoperator.postgres.scram import is_verifier

SUPERUSER = "postgres"
_WITHOUT_SCHEMA = frozenset({"public", "pgbouncer", "monitor", SUPERUSER})
_SESSION_HERE = ":session\n"
_QUIET = """\\set VERBOSITY terse
\\set SHOW_CONTEXT never
"""
_NOTHING_SPECIAL = {
    f"rol{attribute}": False for attribute in ("super", "createdb", "createrole", "replication", "bypassrls")
}


@dataclass(frozen=True)
class Role:
    """A role that must exist with LOGIN.

    `verifier`: SCRAM verifier, None keeps the current password. `databases`: databases with all privileges
    for the role; with `grant_public` also on their schema `public`. For `postgres` only the verifier is used.
    `watches`: a role for monitoring, which reads all statistics and has no other right.
    """

    name: str
    verifier: str | None
    options: str = ""
    databases: tuple[str, ...] = ()
    watches: bool = False
    grant_public: bool = False


@dataclass(frozen=True)
class Pooler:
    """pgBouncer's account; `expose_superusers` allows superusers to connect through pgBouncer.

    `lookup`: the database in which it looks passwords up.
    """

    verifier: str
    expose_superusers: bool
    lookup: str = LOOKUP_DATABASE


def check_role(role: Role) -> None:
    """`InvalidSpec` for an invalid name, option, verifier or database name of the role."""
    _role_rows([role], None)
    for name in role.databases:
        check_name("database", name)


def reconcile_script(
    roles: Sequence[Role],
    databases: Sequence[str],
    *,
    schemas: bool,
    pooler: Pooler | None,
    extensions: Mapping[str, bool],
    major: int,
    libraries: Sequence[str] = (),
    gone: Sequence[str] = (),
) -> str:
    """Render the script. `extensions`: name in CREATE EXTENSION -> desired; others of these are dropped.

    `libraries`: libraries whose presence in the image is checked. `gone`: roles to drop, or to lock if they
    still own objects. `schemas`: create a schema named after each role in each of its databases.
    `InvalidSpec` for an invalid name, option or verifier.
    """
    users = [role for role in roles if role.name != SUPERUSER]
    all_databases = dict.fromkeys([*databases, *(name for role in users for name in role.databases)])
    for name in all_databases:
        check_name("database", name)
    extension_rows = _extension_rows(extensions)
    at = {"wanted": pooler is not None, "database": pooler.lookup if pooler else LOOKUP_DATABASE}
    want = {
        "extensions": extension_rows,
        "schemas": _by_database(users, lambda role: schemas and role.name not in _WITHOUT_SCHEMA),
        "public": _by_database(users, lambda role: role.grant_public),
        "pooler": at | {"source": _get_auth(pooler)},
    }
    variables = {
        "roles": _json(_role_rows(roles, pooler)),
        "databases": _json(list(all_databases)),
        "grants": _json([{"role": role.name, "database": name} for role in users for name in role.databases]),
        "pooler": _json(at),
        "watchers": _json([role.name for role in users if role.watches]),
        "gone": _json(list(gone)),
        "owned": _json(parameters.owned()),
        "second": psql_set(
            "third", _QUIET + psql_set("want", _json(want)) + _text("session.sql") + _text("database.sql")
        ),
    }
    settings = "".join(psql_set(name, text) for name, text in variables.items())
    return settings + _around(_text("access.sql"), extension_rows, libraries, major)


def report_script(*, extensions: Mapping[str, bool], major: int, libraries: Sequence[str] = ()) -> str:
    """Render a script that changes nothing and reports the state of the server, such as its standbys.

    The facts contain no databases.
    """
    return _around("", _extension_rows(extensions), libraries, major)


def _around(
    script: str, extensions: Sequence[Mapping[str, Any]], libraries: Sequence[str], major: int
) -> str:
    """Wrap a script in the common head and end."""
    variables = psql_set("extensions", _json(extensions)) + psql_set("major", str(int(major)))
    variables += psql_set("libraries", _json(list(libraries)))
    head = _text("head.sql").replace(_SESSION_HERE, _text("session.sql"))
    return variables + head + script + _text("state.sql")


def _extension_rows(extensions: Mapping[str, bool]) -> list[dict[str, Any]]:
    libraries = {e.name: e.library for e in BUILT_IN.values() if e.library}
    return [
        {
            "name": name,
            "wanted": wanted,
            "only_in": SUPERUSER if name in ONLY_IN_POSTGRES else None,
            "library": libraries.get(name),
        }
        for name, wanted in sorted(extensions.items())
    ]


def _role_rows(roles: Iterable[Role], pooler: Pooler | None) -> list[dict[str, Any]]:
    """Rows for json_to_recordset with columns of pg_authid as keys; an absent column stays unchanged."""
    rows = []
    for role in roles:
        attributes: dict[str, Any] = {"rolcanlogin": True}
        if role.name == SUPERUSER:
            attributes["rolsuper"] = True
        else:
            attributes |= dict(parse_options(role.options)) | (_NOTHING_SPECIAL if role.watches else {})
        rows.append({"name": check_name("user", role.name), "verifier": role.verifier} | attributes)
    if pooler is not None:
        rows.append(
            {"name": POOLER_USER, "verifier": pooler.verifier, "rolcanlogin": True} | _NOTHING_SPECIAL
        )
    for row in rows:
        if row["verifier"] is not None and not is_verifier(row["verifier"]):
            # PostgreSQL would treat it as a password, and the operator would see a difference in every pass.
            raise InvalidSpec(f"the verifier of user {row['name']} is not a SCRAM-SHA-256 verifier")
    return rows


def _by_database(roles: Iterable[Role], wanted: Callable[[Role], bool]) -> dict[str, list[str]]:
    """Database -> names of the roles for which `wanted` is true."""
    names: dict[str, list[str]] = {}
    for role in roles:
        for database in dict.fromkeys(role.databases) if wanted(role) else ():
            names.setdefault(database, []).append(role.name)
    return names


def _get_auth(pooler: Pooler | None) -> str:
    """Body of pgBouncer's lookup function: user name -> verifier; no row for users that it must not admit."""
    lines = [
        "SELECT a.rolname::text, a.rolpassword FROM pg_catalog.pg_authid AS a",
        "WHERE a.rolname = $1 AND a.rolcanlogin",
        f"AND a.rolname NOT IN ({quote_literal(POOLER_USER)}, {quote_literal(MONITOR_USER)})",
        "AND (a.rolvaliduntil IS NULL OR a.rolvaliduntil > pg_catalog.now())",
    ]
    if pooler is not None and pooler.expose_superusers:
        lines.append(f"AND (NOT a.rolreplication OR a.rolname = {quote_literal(SUPERUSER)})")
    else:
        lines.append("AND NOT a.rolsuper AND NOT a.rolreplication")
    return "\n".join(lines)


def _json(value: Any) -> str:
    # Not ASCII only: in a database with another encoding PostgreSQL rejects escapes, but not the characters.
    return json.dumps(value, ensure_ascii=False)


@cache
def _text(name: str) -> str:
    return files("pgoperator.postgres").joinpath(name).read_text(encoding="utf-8")
