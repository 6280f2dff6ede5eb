"""Verifiers as PostgreSQL itself would write them."""

import pytest

from pgoperator.postgres import scram, sql

SALT = bytes(range(16))
PASSWORDS = [
    "simple",
    "with space and 'quotes' \" \\",
    "pässwörd",
    "pa\u0308sswo\u0308rd",  # the same, decomposed
    "non\u00a0breaking\u2003space",
    "soft\u00adhyphen",
    "\u2168 and \ufb01",  # compatibility forms: IX, fi
    "日本語",
    "\u05d0\u05d1",  # right to left
    "\u05d0a",  # mixed directions: prohibited, so used as it stands
    "bell\u0007é",  # control character: prohibited
    "\u0221é",  # unassigned in Unicode 3.2
    "\u00ad",  # nothing left
    "\U0001f600",
    "x" * 2000,
]


def test_a_password_matches_what_postgresql_made_of_it(server):
    for number, password in enumerate(PASSWORDS):
        server.run(f"CREATE ROLE scram_{number} PASSWORD {sql.quote_literal(password)}")
    rows = server.query("SELECT rolname, rolpassword FROM pg_authid WHERE rolname LIKE 'scram@_%' ESCAPE '@'")
    stored = {int(name.removeprefix("scram_")): text for name, text in rows}

    for number, password in enumerate(PASSWORDS):
        assert scram.is_verifier(stored[number])
        assert scram.matches(stored[number], password), ascii(password)
        assert not scram.matches(stored[number], password + "x")


def test_known_verifier():
    # Computed by PostgreSQL 15 for this salt, so that the format cannot drift together with the reader.
    assert scram.verifier("hunter2", b"0123456789abcdef") == (
        "SCRAM-SHA-256$4096:MDEyMzQ1Njc4OWFiY2RlZg==$HJFePfOAb1GWwyOATbgkhasVp3hFg6hYYE7eNrTx7UA="
        ":4t0aPsdm+OD8h/VVwxMjgry9wezSEEHf1L5kcG4VJsw="
    )


def test_postgresql_stores_our_verifier_unchanged(server):
    ours = scram.verifier("x", SALT)
    server.run(f"CREATE ROLE scram_test PASSWORD '{ours}'")
    assert server.value("SELECT rolpassword FROM pg_authid WHERE rolname = 'scram_test'") == ours


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "md5abcdef",
        "SCRAM-SHA-256$4096:AAAA$BBBB:CCCC",
        scram.verifier("x", SALT) + "\n",
        scram.verifier("x", SALT).replace("$4096:", "$0:"),
        scram.verifier("x", SALT).replace("$4096:", "$99999999:"),
        scram.verifier("x", SALT).replace("AAEC", "A=EC"),
    ],
)
def test_what_is_no_verifier_matches_nothing(text):
    assert not scram.matches(text, "x")


def test_other_iterations():
    assert scram.matches(scram.verifier("x", SALT, 1), "x")
