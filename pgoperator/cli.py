"""The command line: `pgoperator run` and `pgoperator version`."""

import argparse
import sys
from collections.abc import Sequence

from pgoperator import __version__


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="pgoperator", description="PostgreSQL clusters on Kubernetes")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="run the operator; settings are environment variables")
    commands.add_parser("version", help="print the version")
    chosen = parser.parse_args(arguments)
    if chosen.command == "version":
        sys.stdout.write(f"{__version__}\n")
        return 0
    from pgoperator import app  # noqa: PLC0415 - `version` and `--help` answer at once

    return app.run()
