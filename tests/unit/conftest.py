"""Logging is as before after each test."""

from collections.abc import Iterator
from typing import Any

import pytest
import structlog


@pytest.fixture(autouse=True)
def _logging_of_its_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let no logger of a module remember the set-up of one test: its output is closed in the next one."""
    configure = structlog.configure

    def without_memory(**options: Any) -> None:
        configure(**options | {"cache_logger_on_first_use": False})

    monkeypatch.setattr(structlog, "configure", without_memory)
    yield
    structlog.reset_defaults()
