"""The facts that the scripts of `sql` report: one JSON object a line."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pgoperator import limits
from pgoperator.errors import OperatorError
from pgoperator.postgres.extensions import split


@dataclass(frozen=True, slots=True)
class Standby:
    """One row of pg_stat_replication.

    `replayed`: WAL position as in `ServerReport.location`, None until the standby has reported it.
    """

    application_name: str
    state: str
    sync_state: str
    replayed: int | None


@dataclass(frozen=True, slots=True)
class Slot:
    """A replication slot that holds much WAL back, or that was `lost`: PostgreSQL has removed its WAL.

    `held`: bytes of WAL that are kept for it.
    """

    name: str
    active: bool
    lost: bool
    held: int


@dataclass(frozen=True, slots=True)
class ServerReport:
    """The report of the server.

    `complete`: False when the script stopped on purpose, on a standby or on another major version; then
    nothing was changed and all other fields are empty. `database_errors`: database -> why it is not in the
    desired state. `file_errors`: parameter -> why PostgreSQL rejects it. `set_parameters`: names that are set
    by file or command line. `missing_extensions`: desired extensions that the image lacks.
    `missing_libraries`: requested libraries that the image lacks. `refused_extensions`: database -> extension
    -> why it could not be created, updated or dropped. `refused`: user, database or grant, in words -> why
    PostgreSQL refused it. `location`: WAL position of the primary, in bytes from 0/0. `slots`: slots that
    need attention. `elsewhere`: parameter -> value and place, if a file that is not Patroni's decides.
    `reset`: the same, for what was taken back.
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
    refused: Mapping[str, str] = field(default_factory=dict)
    slots: tuple[Slot, ...] = ()
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    reset: Mapping[str, str] = field(default_factory=dict)


def parse_report(output: str) -> ServerReport:
    """Parse the script's standard output; `OperatorError` when it is not the output of the script."""
    try:
        return _report(output)
    except limits.MALFORMED as error:
        raise OperatorError(f"the facts of the access script are incomplete: {error!r:.200}") from error


def _report(output: str) -> ServerReport:
    facts: dict[str, dict[str, Any]] = {}
    errors: dict[str, str] = {}
    refused: dict[str, Mapping[str, str]] = {}
    denied: dict[str, str] = {}
    answered: set[str] = set()
    why = "; ".join(dict.fromkeys(re.findall(r"^message: psql: error: (.*)", output, re.MULTILINE)))
    for line in output.splitlines():
        fact = limits.fields(line)  # {} for messages of psql
        if fact.get("fact") == "database":
            answered.add(fact["name"])
            if "error" in fact:
                errors[fact["name"]] = fact["error"]
            if fact.get("extensions"):
                refused[fact["name"]] = fact["extensions"]
            denied |= {
                f"database {fact['name']!r}, {what}": why for what, why in fact.get("refused", {}).items()
            }
        elif fact.get("fact") == "refused":
            denied |= fact["what"]
        else:
            facts[fact.get("fact", "")] = fact
    if "server" not in facts:
        raise OperatorError("the access script did not return the server's version and state")
    server, state = facts["server"], facts.get("state", {})
    names = tuple(facts.get("databases", {}).get("names", ()))
    errors |= {name: f"the database could not be checked: {why}" for name in names if name not in answered}
    return ServerReport(
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
        refused=denied,
        slots=tuple(Slot(**row) for row in state.get("slots", ())),
        elsewhere=state.get("elsewhere", {}),
        reset=facts.get("reset", {}).get("what", {}),
    )
