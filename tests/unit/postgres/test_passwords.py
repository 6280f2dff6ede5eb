"""Generated passwords."""

import secrets

import pytest

from pgoperator.postgres import passwords


@pytest.mark.parametrize("kind", ["ASCII", "AlphaNumeric"])
def test_length_and_alphabet(kind):
    drawn = passwords.generate(kind, 5000, secrets.choice)
    assert len(drawn) == 5000
    assert drawn.isascii()
    assert not set(drawn) & set("\"'`\\$ \t\n")
    assert drawn.isalnum() == (kind == "AlphaNumeric")


def test_choice_decides():
    assert passwords.generate("AlphaNumeric", 3, lambda alphabet: alphabet[0]) == "aaa"


def test_an_empty_password_is_refused():
    with pytest.raises(ValueError):
        passwords.generate("ASCII", 0, secrets.choice)
