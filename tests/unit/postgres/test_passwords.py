"""Generated passwords."""

import secrets
from typing import Literal
from urllib.parse import quote

import pytest

from pgoperator.postgres import passwords


@pytest.mark.parametrize("kind", ["ASCII", "AlphaNumeric"])
def test_length_and_alphabet(kind: Literal["ASCII", "AlphaNumeric"]) -> None:
    drawn = passwords.generate(kind, 5000, secrets.choice)
    assert len(drawn) == 5000
    assert drawn.isascii()
    assert quote(drawn, safe="") == drawn
    assert drawn.isalnum() == (kind == "AlphaNumeric")


def test_choice_decides() -> None:
    assert passwords.generate("AlphaNumeric", 3, lambda alphabet: alphabet[0]) == "aaa"


def test_an_empty_password_is_refused() -> None:
    with pytest.raises(ValueError):
        passwords.generate("ASCII", 0, secrets.choice)
