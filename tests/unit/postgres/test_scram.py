"""Verifiers as PostgreSQL itself would write them."""

import time

import pytest

from pgoperator.postgres import quoting, scram

from .conftest import Server

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


def test_a_password_matches_what_postgresql_made_of_it(server: Server) -> None:
    for number, password in enumerate(PASSWORDS):
        server.run(f"CREATE ROLE scram_{number} PASSWORD {quoting.quote_literal(password)}")
    rows = server.query("SELECT rolname, rolpassword FROM pg_authid WHERE rolname LIKE 'scram@_%' ESCAPE '@'")
    stored = {int(name.removeprefix("scram_")): text for name, text in rows}

    for number, password in enumerate(PASSWORDS):
        assert scram.is_verifier(stored[number])
        assert scram.matches(stored[number], password), ascii(password)
        assert not scram.matches(stored[number], password + "x")


def test_known_verifier() -> None:
    # Computed by PostgreSQL 15 for this salt, so that the format cannot drift together with the reader.
    assert scram.verifier("hunter2", b"0123456789abcdef") == (
        "SCRAM-SHA-256$4096:MDEyMzQ1Njc4OWFiY2RlZg==$HJFePfOAb1GWwyOATbgkhasVp3hFg6hYYE7eNrTx7UA="
        ":4t0aPsdm+OD8h/VVwxMjgry9wezSEEHf1L5kcG4VJsw="
    )


def test_postgresql_stores_our_verifier_unchanged(server: Server) -> None:
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
        scram.verifier("x", SALT).replace("$4096:", "$100001:"),
        scram.verifier("x", SALT).replace("$4096:", "$9999999:"),
        scram.verifier("x", SALT).replace("$4096:", "$99999999:"),
        scram.verifier("x", SALT).replace("AAEC", "A=EC"),
    ],
)
def test_what_is_no_verifier_matches_nothing(text: str) -> None:
    assert not scram.matches(text, "x")


def test_the_check_of_a_secret_is_bounded() -> None:
    expensive = scram.verifier("x", SALT).replace("$4096:", "$9999999:")
    begin = time.process_time()
    assert not scram.is_verifier(expensive)
    assert not scram.matches(expensive, "x")
    assert time.process_time() - begin < 0.1
    most = scram.verifier("x", SALT, scram.MOST_ITERATIONS)
    assert scram.is_verifier(most)
    assert scram.matches(most, "x")


def test_a_match_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    first = scram.verifier("first password", SALT)
    assert scram.matches(first, "first password")
    monkeypatch.setattr(scram, "_keys", lambda *_: pytest.fail("computed again"))
    assert scram.matches(first, "first password")
    with pytest.raises(pytest.fail.Exception):
        scram.matches(first, "another password")


def test_few_matches_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scram, "_REMEMBERED", 3)
    for number in range(5):
        assert scram.matches(scram.verifier(f"p{number}", SALT, 1), f"p{number}")
    assert len(scram._remembered) == 3


def test_other_iterations() -> None:
    assert scram.matches(scram.verifier("x", SALT, 1), "x")


def test_a_verifier_of_many_iterations_costs_no_time() -> None:
    slow = scram.verifier("x", SALT, 1).replace("$1:", "$9999999:", 1)
    begin = time.process_time()
    assert not scram.matches(slow, "x")
    assert time.process_time() - begin < 0.1
    most = scram.verifier("x", SALT, 100_000)
    assert scram.matches(most, "x")


def test_a_known_answer_costs_no_time() -> None:
    verifiers = [scram.verifier(f"p{n}", SALT) for n in range(200)]
    assert all(scram.matches(one, f"p{n}") for n, one in enumerate(verifiers))
    begin = time.process_time()
    for _ in range(10):
        assert all(scram.matches(one, f"p{n}") for n, one in enumerate(verifiers))
        assert not scram.matches(verifiers[0], "p1")
    assert time.process_time() - begin < 0.5
