"""The commands of the local Kubernetes: `python3 -m local COMMAND`."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from local import bins, cluster, control_plane, demo, host, images, install, kubeconfig, network, venv
from local.console import LocalError, say
from local.paths import ours
from local.versions import CLUSTER, MODULES


def _bins(arguments: argparse.Namespace) -> None:
    bins.build(arguments.names or CLUSTER)


def _images(arguments: argparse.Namespace) -> None:
    images.build(arguments.names or (*images.SYSTEM, *images.PRODUCT))


def _up(arguments: argparse.Namespace) -> None:
    install.up(arguments.nodes, install.from_bundle if arguments.operator == "ours" else None)


def _down(_: argparse.Namespace) -> None:
    cluster.down()


def _ours() -> Path:
    cluster.nodes_of_state()  # says so when there is no cluster
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
        raise LocalError(f"there is no node {arguments.node}, only {', '.join(names)}")
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
    """Describe the commands."""
    root = argparse.ArgumentParser(prog="python3 -m local", description="The local Kubernetes of pgoperator.")
    commands = root.add_subparsers(required=True, metavar="COMMAND")

    def command(
        name: str, action: Callable[[argparse.Namespace], None], text: str
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(action=action)
        return added

    added = command("bins", _bins, "build the missing programs")
    added.add_argument("names", nargs="*", choices=[*MODULES, []], metavar="NAME", help=", ".join(MODULES))

    added = command("images", _images, "build the images that are missing or out of date")
    added.add_argument("names", nargs="*", choices=[*images.ALL, []], metavar="IMAGE", help="default: all")

    for name, action, text in (
        ("up", _up, "start the local Kubernetes with the operator, or bring the running one up to date"),
        ("demo", _demo, "up, then the example cluster and a round trip through pgBouncer"),
    ):
        added = command(name, action, text)
        added.add_argument("--nodes", type=int, default=3, help="number of nodes, default 3")
        if name == "up":
            added.add_argument("--operator", choices=("ours", "none"), default="ours")

    command("down", _down, "remove every process, mount, namespace and link of the local Kubernetes")
    command("kubeconfig", _kubeconfig, "print the path of the kubeconfig")
    command("audit-log", _audit_log, "print the path of the API server's audit log")
    command("status", _status, "say what runs")

    for name, text in (("cut", "take a node's network link down"), ("heal", "put a node's link up again")):
        added = command(name, _link, text)
        added.set_defaults(link=name)
        added.add_argument("node")

    added = command("apiserver", _api_server, "stop the API server as a crash would, or start it again")
    added.add_argument("verb", choices=("stop", "start"))

    command("test-tools", _test_tools, "install the programs that unit tests run")
    command("venv", _venv, "make or refresh the environment of the checks and tests, print its path")

    added = command(
        "control-plane", _control_plane, "start only etcd and an API server, for tests without nodes"
    )
    added.add_argument("folder", type=Path, help="where all its state goes")
    added.add_argument("--controllers", action="store_true", help="also run kube-controller-manager")
    added.add_argument("--stop", action="store_true", help="end it and delete the folder")
    return root


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; what a person can act on is said without a traceback."""
    arguments = parser().parse_args(argv)
    try:
        arguments.action(arguments)
    except LocalError as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
