"""Measured facts on standard output: `pytest -s` shows them, `-rP` with the results."""

import sys


def tell(text: str) -> None:
    """Write a line."""
    sys.stdout.write(f"\n{text}\n")
