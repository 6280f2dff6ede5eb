"""The commands that Patroni runs: ours, and the user's own."""

import shlex
import subprocess
from typing import Any

import pytest

from pgoperator import naming
from pgoperator.errors import InvalidSpec
from reconcilers.pgcluster.patroni.build_hooks import hooks
from tests.support.views import view

SCRIPTS = naming.SCRIPTS_PATH


def of(*, slots: bool = False, **user: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {"patroni": {"dynamicConfiguration": {"postgresql": user}}}
    if slots:
        spec["config"] = {"parameters": {"sync_replication_slots": "on"}}
    return hooks(view(**spec))


def run(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command as Patroni does. The scripts do not exist here: ours fails."""
    words = shlex.split(command) + list(arguments)
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=20)


def test_without_commands_of_the_user_only_ours_run() -> None:
    found = of()
    assert found["before_stop"] == f"bash {SCRIPTS}/before-stop.sh"
    assert run(found["pre_promote"]).returncode == 0, "our script never prevents a promotion"
    assert "callbacks" not in found, "Patroni takes those of the dynamic configuration"


def test_the_users_command_may_prevent_a_promotion() -> None:
    done = run(of(pre_promote="bash -c 'echo \"$0\"; exit 3' 'a  b'")["pre_promote"])
    assert (done.returncode, done.stdout) == (3, "a  b\n")


def test_the_users_command_before_a_stop_is_given_in_words() -> None:
    words = shlex.split(of(before_stop="/bin/sh -c 'echo it'")["before_stop"])
    assert words == ["bash", f"{SCRIPTS}/before-stop.sh", "/bin/sh", "-c", "echo it"]


def test_with_synchronized_slots_the_users_callbacks_run_beside_ours() -> None:
    found = of(slots=True, callbacks={"on_start": "echo 'mine  is'", "on_stop": "theirs"})["callbacks"]
    assert found["on_stop"] == "theirs"
    assert found["on_role_change"] == f"bash {SCRIPTS}/former-slots.sh"
    done = run(found["on_start"], "on_start", "replica", "c1-ha")
    assert done.stdout == "mine  is on_start replica c1-ha\n"
    assert f"{SCRIPTS}/former-slots.sh" in done.stderr


@pytest.mark.parametrize("name", ["pre_promote", "before_stop"])
@pytest.mark.parametrize("value", [["a"], 3, "'open"])
def test_a_command_that_is_none_is_reported(name: str, value: Any) -> None:
    with pytest.raises(InvalidSpec, match=rf"postgresql\.{name}: must be a command"):
        of(**{name: value})
