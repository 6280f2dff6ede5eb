"""Lines of pg_hba.conf, the real parser included."""

from types import SimpleNamespace
from typing import Any

import pytest

from pgoperator.errors import InvalidSpec
from pgoperator.postgres import hba

from .conftest import Server

OURS = """\
local all "postgres" peer
hostssl replication "_crunchyrepl" all cert
hostssl "postgres" "_crunchyrepl" all cert
host all "_crunchyrepl" all reject
host all "monitor" 127.0.0.0/8 scram-sha-256
host all "monitor" ::1/128 scram-sha-256
host all "monitor" all reject
hostssl all "_crunchypgbouncer" all scram-sha-256
host all "_crunchypgbouncer" all reject
""".splitlines()
RULES = [
    {"connection": "host", "method": "md5", "databases": ["a,b", 'q"x'], "users": ["all", "+group", "@file"]},
    {"connection": "local", "method": "peer", "options": {"map": "m a p"}},
    {"connection": "hostssl", "method": "ldap", "options": {"ldapserver": "x", "ldapport": 389}},
    {"connection": "hostnossl", "method": "reject", "users": ["/^a.*$", "/tmp"]},
    {"hba": "#\nhostssl all all 10.0.0.0/8 md5\n\nhost all all 10.0.0.1 255.255.255.255 trust\n"},
]


def test_the_default_stands_only_where_nobody_adds_a_line() -> None:
    assert hba.lines([], [], tls_only=False) == [*OURS, "hostssl all all all scram-sha-256"]
    assert hba.lines([], ["host all all all md5"], tls_only=False) == [*OURS, "host all all all md5"]
    assert (
        hba.lines([{"hba": "# nothing"}], ["", " "], tls_only=False)[-1]
        == "hostssl all all all scram-sha-256"
    )


def test_rules_come_after_ours_and_before_the_users_lines() -> None:
    assert hba.lines(RULES, ["host all all all reject"], tls_only=False) == [
        *OURS,
        'host "a,b","q""x" "all","+group","@file" all md5',
        'local all all peer map="m a p"',
        'hostssl all all all ldap ldapport="389" ldapserver="x"',
        r'hostnossl all "/^\/\^a\.\*\$$","/^\/tmp$" all reject',
        "hostssl all all 10.0.0.0/8 md5",
        "host all all 10.0.0.1 255.255.255.255 trust",
        "host all all all reject",
    ]


def test_objects_serve_as_rules() -> None:
    rule = SimpleNamespace(
        connection="host", method="trust", databases=None, users=["u"], options=None, hba=None
    )
    assert hba.lines([rule], [], tls_only=False)[-1] == 'host all "u" all trust'


def test_tls_only_rejects_tcp_without_tls_before_all_else_and_changes_no_other_line() -> None:
    others = hba.lines(RULES, ["host all all all trust"], tls_only=False)
    found = hba.lines(RULES, ["host all all all trust"], tls_only=True)
    assert found == ["hostnossl all all all reject", *others]


def test_logical_replicas_and_no_pooler() -> None:
    found = hba.lines([], [], tls_only=False, pooler=False, logical_replicas=True)
    assert not any("_crunchypgbouncer" in line for line in found)
    assert 'hostssl all "logicalrepl" all scram-sha-256' in found


def test_the_operators_way_in_is_always_first() -> None:
    assert hba.lines([], ["local all all reject", "host all all all reject"], tls_only=False)[0] == OURS[0]


def test_the_real_parser_takes_every_line(server: Server) -> None:
    file = server.folder / "data/pg_hba.conf"
    old = file.read_text()
    lines = hba.lines(
        RULES[:2] + RULES[3:], ["host all all samenet trust"], tls_only=True, logical_replicas=True
    )
    try:
        file.write_text("\n".join(lines) + "\n")
        errors = server.query("SELECT line_number, error FROM pg_hba_file_rules WHERE error IS NOT NULL")
        rows = server.query("SELECT user_name FROM pg_hba_file_rules")
    finally:
        file.write_text(old)
    assert errors == []
    assert len(rows) == len(lines)


@pytest.mark.parametrize(
    "line",
    [
        "hots all all all md5",
        "host all all all",
        "host all all all m5",
        "host all all",
        "local all all",
        "local all all md6",
        "host all all 10.0.0.0/99 md5",
        "host all all 10.0.0.300/32 md5",
        "host all all 10.0.0.0 md5",
        "host all all ::1/129 md5",
        "host all all all peer",
        "local all all cert",
        "host all all all cert",
        "host all all all ldap server",
        'host "all all all md5',
        "host all all all md5 \\",
        "host all all all md5\0",
    ],
)
def test_a_raw_line_that_postgresql_would_refuse_is_named(line: str) -> None:
    with pytest.raises(InvalidSpec) as error:
        hba.lines([], [line], tls_only=False)
    assert line.split(maxsplit=1)[0] in str(error.value)
    with pytest.raises(InvalidSpec):
        hba.lines([{"hba": line}], [], tls_only=False)


@pytest.mark.parametrize(
    "line",
    [
        "host all all example.org md5",
        "host all all .example.org md5",
        "host all all fe80::1/64 md5",
        "hostgssenc all all all gss include_realm=0",
        "host a, b all all md5  # why not",
        "host \"a b\",c 'x' all md5",
        "include_if_exists /etc/postgres/hba",
    ],
)
def test_a_raw_line_that_postgresql_takes_passes(line: str) -> None:
    assert line in hba.lines([], [line], tls_only=False)


@pytest.mark.parametrize(
    "rule",
    [
        {"connection": "x", "method": "md5"},
        {"connection": "host", "method": ""},
        {"connection": "host", "method": "md5", "users": ["a\nlocal all all trust"]},
        {"connection": "host", "method": "ldap", "options": {"a b": 1}},
        {"connection": "host", "method": "ldap", "options": {"map": "a\nb"}},
        {"connection": "host", "method": "cert"},
        {},
    ],
)
def test_a_rule_that_cannot_be_is_refused(rule: dict[str, Any]) -> None:
    with pytest.raises(InvalidSpec):
        hba.lines([rule], [], tls_only=False)
