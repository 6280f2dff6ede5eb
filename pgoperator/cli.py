"""The command line: `pgoperator run`, `pgoperator takeover plan` and `pgoperator version`."""

import argparse
import sys
from collections.abc import Sequence

from pgoperator import __version__


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    parser = argparse.ArgumentParser(prog="pgoperator", description="PostgreSQL clusters on Kubernetes")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="run the operator; settings are environment variables")
    _add_takeover(commands.add_parser("takeover", help="clusters that Percona's operator runs"))
    commands.add_parser("version", help="print the version")
    chosen = parser.parse_args(arguments)
    if chosen.command == "version":
        sys.stdout.write(f"{__version__}\n")
        return 0
    from pgoperator import app  # noqa: PLC0415 - keeps `version` and `--help` fast

    if chosen.command == "takeover":
        return app.plan_takeover(chosen.namespace, chosen.name)
    return app.run()


def _add_takeover(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True)
    plan = actions.add_parser(
        "plan",
        help="print what a takeover would do; writes nothing",
        description="Exit status: 0 nothing blocks, 3 something blocks, 1 no plan could be made.",
    )
    plan.add_argument("namespace", help="namespace of the PerconaPGCluster")
    plan.add_argument("name", help="name of the PerconaPGCluster")
