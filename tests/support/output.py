"""Measured values on standard output: `pytest -s` shows them at once, `-rP` with the results."""

import sys


def emit(text: str) -> None:
    """Write a line."""
    sys.stdout.write(f"\n{text}\n")
