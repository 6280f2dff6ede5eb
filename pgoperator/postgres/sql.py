"""The psql script that brings access to its desired state, and the facts it reports.

Feed it by standard input to `psql -X -q -v ON_ERROR_STOP=1 -f -` in a database container, as the superuser
`postgres` over the local socket: verifiers are never on a command line. The texts are the SQL files beside
this module. A run that finds everything right writes nothing, takes no transaction id, moves no commit time.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from pgoperator.errors import InvalidSpec, OperatorError
from pgoperator.postgres.extensions import BUILT_IN, ONLY_IN_POSTGRES, split
from pgoperator.postgres.hba import POOLER_USER
from pgoperator.postgres.quoting import check_name, psql_set, quote_ident, quote_literal
from pgoperator.postgres.roles import parse_options
from pgoperator.postgres.scram import is_verifier

__all__ = [
    "Facts",
    "Pooler",
    "Role",
    "Standby",
    "access_script",
    "look_script",
    "parse_facts",
    "parse_options",
    "quote_ident",
    "quote_literal",
]

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
    """A role that must exist and may log in.

    `verifier` None leaves its password alone. `databases` are granted to it; with `grant_public` their schema
    `public` too. Of the role `postgres` only the verifier counts.
    """

    name: str
    verifier: str | None
    options: str = ""
    databases: tuple[str, ...] = ()
    superuser: bool = False
    grant_public: bool = False


@dataclass(frozen=True)
class Pooler:
    """pgBouncer's own account; `expose_superusers` lets superusers through it."""

    verifier: str
    expose_superusers: bool


@dataclass(frozen=True, slots=True)
class Standby:
    """One row of pg_stat_replication.

    `replayed` is a position as in `Facts`, None until the standby has told it.
    """

    application_name: str
    state: str
    sync_state: str
    replayed: int | None


@dataclass(frozen=True, slots=True)
class Facts:
    """What the server said.

    `complete` is False when the script stopped on purpose: on a standby, or on another major version; then
    nothing was changed and the rest is empty. `database_errors`: database -> why it is not as desired.
    `file_errors`: parameter -> why PostgreSQL refuses it. `set_parameters`: names that reached the server.
    `missing_extensions`: wanted, not in the image. `missing_libraries`: of those asked for, not in the image.
    `refused_extensions`: database -> extension -> why it could not be created, updated or dropped there.
    `location`: the primary's position in the write-ahead log, in bytes from its beginning.
    """

    server_version_num: int
    in_recovery: bool
    system_identifier: str
    complete: bool = False
    databases: tuple[str, ...] = ()
    database_errors: Mapping[str, str] = field(default_factory=dict)
    replication: tuple[Standby, ...] = ()
    pending_restart: tuple[str, ...] = ()
    file_errors: Mapping[str, str] = field(default_factory=dict)
    set_parameters: frozenset[str] = frozenset()
    hba_errors: tuple[str, ...] = ()
    missing_extensions: tuple[str, ...] = ()
    location: int = 0
    missing_libraries: tuple[str, ...] = ()
    preloaded: tuple[str, ...] = ()
    refused_extensions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def access_script(
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
    """Write the script. `extensions`: name in CREATE EXTENSION -> wanted; unwanted ones are dropped.

    `libraries`: those of which it is asked whether the image has them. `gone`: roles to be dropped, or locked
    where something of theirs is left. `schemas`: give every role a schema of its name in each of its
    databases. `InvalidSpec` when a name, option or verifier cannot be.
    """
    users = [role for role in roles if role.name != SUPERUSER]
    all_databases = dict.fromkeys([*databases, *(name for role in users for name in role.databases)])
    for name in all_databases:
        check_name("database", name)
    extension_rows = _extension_rows(extensions)
    want = {
        "extensions": extension_rows,
        "schemas": _by_database(users, lambda role: schemas and role.name not in _WITHOUT_SCHEMA),
        "public": _by_database(users, lambda role: role.grant_public),
        "pooler": {"wanted": pooler is not None, "source": _get_auth(pooler)},
    }
    variables = {
        "roles": _json(_role_rows(roles, pooler)),
        "databases": _json(list(all_databases)),
        "grants": _json([{"role": role.name, "database": name} for role in users for name in role.databases]),
        "pooler": _json({"wanted": pooler is not None}),
        "gone": _json(list(gone)),
        "second": psql_set(
            "third", _QUIET + psql_set("want", _json(want)) + _text("session.sql") + _text("database.sql")
        ),
    }
    settings = "".join(psql_set(name, text) for name, text in variables.items())
    return settings + _around(_text("access.sql"), extension_rows, libraries, major)


def look_script(*, extensions: Mapping[str, bool], major: int, libraries: Sequence[str] = ()) -> str:
    """Write a script that changes nothing and reports what concerns the server as a whole.

    For what changes by itself, such as which standbys stream. Its facts name no databases.
    """
    return _around("", _extension_rows(extensions), libraries, major)


def parse_facts(output: str) -> Facts:
    """Read the script's standard output; `OperatorError` when not even the server's own fact is there."""
    facts: dict[str, dict[str, Any]] = {}
    errors: dict[str, str] = {}
    refused: dict[str, Mapping[str, str]] = {}
    answered: set[str] = set()
    why = "; ".join(dict.fromkeys(re.findall(r"^psql: error: (.*)", output, re.MULTILINE)))
    for line in output.splitlines():
        fact = _fact(line)
        if fact.get("fact") == "database":
            answered.add(fact["name"])
            if "error" in fact:
                errors[fact["name"]] = fact["error"]
            elif fact.get("extensions"):
                refused[fact["name"]] = fact["extensions"]
        else:
            facts[fact.get("fact", "")] = fact
    if "server" not in facts:
        raise OperatorError("the database did not answer the access script")
    server, state = facts["server"], facts.get("state", {})
    names = tuple(facts.get("databases", {}).get("names", ()))
    errors |= {name: f"no connection to the database: {why}" for name in names if name not in answered}
    return Facts(
        server_version_num=server["version"],
        in_recovery=server["in_recovery"],
        system_identifier=server["system_identifier"],
        complete="end" in facts,
        databases=names,
        database_errors=errors,
        replication=tuple(Standby(**row) for row in state.get("replication", ())),
        pending_restart=tuple(state.get("pending_restart", ())),
        file_errors=state.get("file_errors", {}),
        set_parameters=frozenset(state.get("set", ())),
        hba_errors=tuple(state.get("hba_errors", ())),
        missing_extensions=tuple(state.get("missing_extensions", ())),
        location=state.get("location", 0),
        missing_libraries=tuple(state.get("missing_libraries", ())),
        preloaded=tuple(split(state.get("preloaded", "").replace('"', ""))),
        refused_extensions=refused,
    )


def _fact(line: str) -> dict[str, Any]:
    """Read one line; anything but a JSON object is noise of psql and counts as nothing."""
    try:
        fact = json.loads(line)
    except ValueError:
        return {}
    return fact if isinstance(fact, dict) else {}


def _around(
    script: str, extensions: Sequence[Mapping[str, Any]], libraries: Sequence[str], major: int
) -> str:
    """Put a script between the head and the end that all have."""
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
    """Rows for json_to_recordset, keys as the columns of pg_authid; what is absent is left as it is."""
    rows = []
    for role in roles:
        attributes: dict[str, Any] = {"rolcanlogin": True}
        if role.superuser or role.name == SUPERUSER:
            attributes["rolsuper"] = True
        if role.name != SUPERUSER:
            attributes |= dict(parse_options(role.options)) | ({"rolsuper": True} if role.superuser else {})
        rows.append({"name": check_name("user", role.name), "verifier": role.verifier} | attributes)
    if pooler is not None:
        rows.append(
            {"name": POOLER_USER, "verifier": pooler.verifier, "rolcanlogin": True} | _NOTHING_SPECIAL
        )
    for row in rows:
        if row["verifier"] is not None and not is_verifier(row["verifier"]):
            # PostgreSQL would take it for a password, and the operator for a difference in every pass.
            raise InvalidSpec(f"the verifier of user {row['name']} is not a SCRAM-SHA-256 verifier")
    return rows


def _by_database(roles: Iterable[Role], wanted: Callable[[Role], bool]) -> dict[str, list[str]]:
    """Database -> names of the roles that are wanted in it."""
    found: dict[str, list[str]] = {}
    for role in roles:
        for database in dict.fromkeys(role.databases) if wanted(role) else ():
            found.setdefault(database, []).append(role.name)
    return found


def _get_auth(pooler: Pooler | None) -> str:
    """Body of pgBouncer's lookup function: name in, verifier out, nothing for whom it must not let in."""
    lines = [
        "SELECT a.rolname::text, a.rolpassword FROM pg_catalog.pg_authid AS a",
        "WHERE a.rolname = $1 AND a.rolcanlogin",
        f"AND a.rolname <> {quote_literal(POOLER_USER)}",
        "AND (a.rolvaliduntil IS NULL OR a.rolvaliduntil > pg_catalog.now())",
    ]
    if pooler is not None and pooler.expose_superusers:
        lines.append(f"AND (NOT a.rolreplication OR a.rolname = {quote_literal(SUPERUSER)})")
    else:
        lines.append("AND NOT a.rolsuper AND NOT a.rolreplication")
    return "\n".join(lines)


def _json(value: Any) -> str:
    # Not ASCII only: in a database of another encoding PostgreSQL refuses escapes, not the characters.
    return json.dumps(value, ensure_ascii=False)


@cache
def _text(name: str) -> str:
    return files("pgoperator.postgres").joinpath(name).read_text(encoding="utf-8")
