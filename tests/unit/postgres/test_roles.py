"""Options of users: which words are understood, which are refused, and by name."""

from typing import Any

import pytest

from pgoperator.errors import InvalidSpec
from pgoperator.postgres.roles import parse_options

from .conftest import Server


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("SUPERUSER", {"rolsuper": True}),
        ("nosuperuser  CreateDB", {"rolsuper": False, "rolcreatedb": True}),
        ("WITH NOLOGIN", {"rolcanlogin": False}),
        (
            "INHERIT REPLICATION BYPASSRLS NOCREATEROLE",
            {"rolinherit": True, "rolreplication": True, "rolbypassrls": True, "rolcreaterole": False},
        ),
        ("CONNECTION LIMIT 10", {"rolconnlimit": 10}),
        ("connection limit -1", {"rolconnlimit": -1}),
        ("VALID UNTIL 'infinity'", {"rolvaliduntil": "infinity"}),
        ("VALID UNTIL '2030-01-02'", {"rolvaliduntil": "2030-01-02"}),
        (
            "VALID UNTIL '2030-01-02 03:04:05+00' CREATEDB",
            {"rolvaliduntil": "2030-01-02 03:04:05+00", "rolcreatedb": True},
        ),
        ("VALID UNTIL '2030-01-02T03:04:05.5Z'", {"rolvaliduntil": "2030-01-02T03:04:05.5Z"}),
    ],
)
def test_options_that_are_understood(text: str, expected: dict[str, Any]) -> None:
    assert dict(parse_options(text)) == expected


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("PASSWORD 'x'", "'PASSWORD'"),
        ("ENCRYPTED PASSWORD 'x'", "'ENCRYPTED'"),
        ("CREATEDB; DROP TABLE t", "';'"),
        ("CREATEDB -- comment", "'-'"),
        ("CREATEDB /* x */", "'/'"),
        ("IN ROLE admin", "'IN'"),
        ("SUPERUSER NOSUPERUSER", "'NOSUPERUSER'"),
        ("CREATEDB CREATEDB", "'CREATEDB'"),
        ("NONOLOGIN", "'NONOLOGIN'"),
        ("CONNECTION", "CONNECTION"),
        ("CONNECTION LIMIT", "CONNECTION LIMIT"),
        ("CONNECTION LIMIT many", "'many'"),
        ("CONNECTION LIMIT -2", "'-2'"),
        ("CONNECTION LIMIT 99999999999", "'99999999999'"),
        ("CONNECTION LIMIT 2147483648", "'2147483648'"),
        ("CONNECTION SLOTS 2", "'SLOTS'"),
        ("VALID UNTIL 2030-01-01", "2030"),
        ("VALID UNTIL 'tomorrow'", "'tomorrow'"),
        ("VALID UNTIL '2030-13-01'", "'2030-13-01'"),
        ("VALID UNTIL 'a'' PASSWORD ''b'", "PASSWORD"),
        ("VALID FROM '2030-01-01'", "'FROM'"),
        ("VALID UNTIL", "VALID UNTIL"),
        ("LOGIN '", '"\'"'),
        ("\uff2cOGIN", "OGIN'"),
    ],
)
def test_options_that_are_refused_by_name(text: str, word: str) -> None:
    with pytest.raises(InvalidSpec) as error:
        parse_options(text)
    assert word in str(error.value)
    assert error.value.reason == "InvalidUser"


@pytest.mark.parametrize(
    "text",
    [
        "VALID UNTIL '2030-01-02'",
        "VALID UNTIL '2030-01-02 03:04:05 +02:00'",
        "VALID UNTIL '2030-01-02T03:04Z'",
        "VALID UNTIL 'infinity'",
    ],
)
def test_postgresql_takes_every_time_that_we_take(server: Server, text: str) -> None:
    time = dict(parse_options(text))["rolvaliduntil"]
    assert server.value(f"SELECT '{time}'::timestamptz IS NOT NULL") == "t"
