"""The commands that Patroni runs: before a promotion, before a stop, and after changes of the role. Pure.

Commands in a member's file hide those of the dynamic configuration, so each runs the user's command, too.
Patroni splits a command into words as a shell does, and runs it without one.
"""

import shlex
from typing import Any

from pgoperator import naming
from reconcilers.pgcluster.patroni import build_dynamic_config
from reconcilers.pgcluster.state.view import View


def hooks(view: View) -> dict[str, Any]:
    """Settings of Patroni's section `postgresql`; InvalidSpec when a command of the user is not text."""
    user = build_dynamic_config.section(
        view.cluster.spec.patroni.dynamic_configuration, "postgresql", "postgresql"
    )
    result: dict[str, Any] = {
        "pre_promote": _pre_promote(_words(user, "pre_promote", "")),
        # The user's command comes first: PostgreSQL still runs.
        "before_stop": shlex.join(["bash", _path("before-stop.sh"), *_words(user, "before_stop", "")]),
    }
    if build_dynamic_config.synchronizes_slots(view):
        own = build_dynamic_config.section(user, "callbacks", "postgresql.callbacks")
        names = ("on_start", "on_role_change")
        result["callbacks"] = own | {name: _callback(_words(own, name, "callbacks.")) for name in names}
    return result


def _pre_promote(user: list[str]) -> str:
    """Only the user's command can prevent a promotion; ours may neither delay it for long nor fail."""
    ours = f"timeout 10 bash {_path('pre-promote.sh')} || true"
    then = f"; exec {shlex.join(user)}" if user else ""
    return shlex.join(["bash", "-c", ours + then])


def _callback(user: list[str]) -> str:
    """With synchronized slots, a former primary removes those that it left behind. Patroni adds arguments."""
    ours = ["bash", _path("former-slots.sh")]
    if not user:
        return shlex.join(ours)
    both = f'{shlex.join(ours)} "$@" & {shlex.join(user)} "$@"; wait'
    return shlex.join(["bash", "-c", both, "callback"])


def _words(section: dict[str, Any], name: str, path: str) -> list[str]:
    """The user's command in words; none without one."""
    command = section.get(name)
    if command is None:
        return []
    if isinstance(command, str):
        try:
            return shlex.split(command)
        except ValueError:
            pass
    raise build_dynamic_config.wrong_type(f"postgresql.{path}{name}", "a command, as one line of text")


def _path(script: str) -> str:
    return f"{naming.SCRIPTS_PATH}/{script}"
