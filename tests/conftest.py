"""Command line options of these tests."""

import pytest

from tests.support import golden


def pytest_addoption(parser: pytest.Parser) -> None:
    golden.add_option(parser)


def pytest_configure(config: pytest.Config) -> None:
    golden.configure(config)
