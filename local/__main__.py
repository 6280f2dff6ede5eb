"""The commands of the local Kubernetes: `python3 -m local COMMAND`."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from local import (
    bins,
    cluster,
    control_plane,
    demo,
    drivers,
    host,
    images,
    install,
    kubeconfig,
    network,
    venv,
)
from local.console import LocalError, info
from local.paths import ours
from local.versions import CLUSTER, MODULES


def _bins(arguments: argparse.Namespace) -> None:
    bins.build(arguments.names or CLUSTER)


def _drivers(_: argparse.Namespace) -> None:
    for name in drivers.LANGUAGES:
        try:
            drivers.ensure(name)
        except LocalError as error:  # its tests are skipped
            info(str(error))


def _images(arguments: argparse.Namespace) -> None:
    images.build(arguments.names or (*images.SYSTEM, *images.PRODUCT))


def _up(arguments: argparse.Namespace) -> None:
    install.up(arguments.nodes, install.from_bundle if arguments.operator == "ours" else None)


def _down(_: argparse.Namespace) -> None:
    cluster.down()


def _ours() -> Path:
    cluster.nodes_of_state()  # LocalError without a cluster
    return ours()


def _kubeconfig(_: argparse.Namespace) -> None:
    print(kubeconfig.foreign() or _ours())


def _audit_log(_: argparse.Namespace) -> None:
    cluster.nodes_of_state()
    print(cluster.SERVER.audit_log)


def _status(_: argparse.Namespace) -> None:
    print("\n".join(cluster.describe()))


def _demo(arguments: argparse.Namespace) -> None:
    demo.run(arguments.nodes)


def _link(arguments: argparse.Namespace) -> None:
    names = [node.name for node in cluster.nodes_of_state()]
    if arguments.node not in names:
        raise LocalError(f"node {arguments.node} does not exist; the nodes are {', '.join(names)}")
    {"cut": network.cut, "heal": network.heal}[arguments.link](arguments.node)


def _api_server(arguments: argparse.Namespace) -> None:
    {"stop": cluster.stop_api_server, "start": cluster.start_api_server}[arguments.verb]()


def _venv(_: argparse.Namespace) -> None:
    print(venv.ensure())


def _test_tools(_: argparse.Namespace) -> None:
    host.install_packages(host.TEST_PACKAGES)


def _control_plane(arguments: argparse.Namespace) -> None:
    if arguments.stop:
        control_plane.stop(arguments.folder)
    else:
        print(control_plane.start(arguments.folder, with_controllers=arguments.controllers).kubeconfig)


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    root = argparse.ArgumentParser(prog="python3 -m local", description="The local Kubernetes of pgoperator.")
    commands = root.add_subparsers(required=True, metavar="COMMAND")

    def command(
        name: str, action: Callable[[argparse.Namespace], None], text: str
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(action=action)
        return added

    added = command("bins", _bins, "build the programs that are missing or out of date")
    added.add_argument("names", nargs="*", choices=[*MODULES, []], metavar="NAME", help=", ".join(MODULES))

    added = command("images", _images, "build the images that are missing or out of date")
    added.add_argument("names", nargs="*", choices=[*images.ALL, []], metavar="IMAGE", help="default: all")

    command(
        "drivers", _drivers, "install the PostgreSQL drivers that the tests use, and build their programs"
    )

    for name, action, text in (
        ("up", _up, "start the local Kubernetes with the operator, or update the running one"),
        ("demo", _demo, "run up, create the example cluster, write and read through pgBouncer"),
    ):
        added = command(name, action, text)
        added.add_argument("--nodes", type=int, default=3, help="number of nodes, default 3")
        if name == "up":
            added.add_argument("--operator", choices=("ours", "none"), default="ours")

    command("down", _down, "remove all processes, mounts, namespaces and links of the local Kubernetes")
    command("kubeconfig", _kubeconfig, "print the path of the kubeconfig")
    command("audit-log", _audit_log, "print the path of the API server's audit log")
    command("status", _status, "show the API server, the nodes and their processes")

    for name, text in (
        ("cut", "take a node's network link down"),
        ("heal", "bring a node's network link up"),
    ):
        added = command(name, _link, text)
        added.set_defaults(link=name)
        added.add_argument("node")

    added = command("apiserver", _api_server, "kill the API server, or start it again")
    added.add_argument("verb", choices=("stop", "start"))

    command("test-tools", _test_tools, "install the programs that the unit tests need")
    command(
        "venv", _venv, "create or update the virtual environment of the checks and tests, and print its path"
    )

    added = command(
        "control-plane", _control_plane, "start only etcd and an API server, for tests without nodes"
    )
    added.add_argument("folder", type=Path, help="folder for its state")
    added.add_argument("--controllers", action="store_true", help="also run kube-controller-manager")
    added.add_argument("--stop", action="store_true", help="stop it and delete the folder")
    return root


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status; a LocalError is printed without a traceback."""
    arguments = parser().parse_args(argv)
    try:
        arguments.action(arguments)
    except LocalError as error:
        info(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        info("interrupted")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
