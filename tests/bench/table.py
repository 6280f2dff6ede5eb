"""Tables for a terminal."""

import sys
from collections.abc import Sequence

HEAD = ("what", "ours", "goal", "Percona Operator")
Row = tuple[str, str, str, str]
"""A figure, the goal, and the figure of Percona Operator."""


def emit(text: str = "") -> None:
    """Write a line and flush."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under a head, columns aligned; the last column may be long."""
    lines = [head, *rows]
    widths = [max(len(str(line[column])) for line in lines) for column in range(len(head) - 1)]
    emit(f"\n## {title}\n")
    for number, line in enumerate(lines):
        cells = [str(cell).ljust(width) for cell, width in zip(line, widths, strict=False)]
        emit("  ".join([*cells, str(line[-1])]).rstrip())
        if number == 0:
            emit("  ".join("-" * width for width in [*widths, len(str(head[-1]))]))


def seconds(values: Sequence[float]) -> str:
    """Return "2.1, 2.3, 2.2"."""
    return ", ".join(f"{value:.1f}" for value in values)
