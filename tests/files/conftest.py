"""Fixtures of the tests of scripts that restore."""

from collections.abc import Iterator

import pytest

from tests.support import restore_place
from tests.support.restore_place import Place


@pytest.fixture(scope="module")
def template() -> Iterator[Place]:
    """A database with 10 rows in its backup, 20 in its archive and 25 on its disk."""
    yield from restore_place.with_backup()


@pytest.fixture
def place(template: Place) -> Place:
    """The same folder in its original state."""
    return restore_place.as_at_first(template)
