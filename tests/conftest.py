"""Command line options of these tests, and the signals that the programs they start can get."""

import signal

import pytest

from tests.support import golden


def pytest_addoption(parser: pytest.Parser) -> None:
    golden.add_option(parser)


def pytest_configure(config: pytest.Config) -> None:
    golden.configure(config)
    # A shell lets commands in the background ignore these, and every program that they start inherits it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
