"""`former-slots.sh` with a scripted `psql`."""

import subprocess
from pathlib import Path
from typing import Protocol

import pytest

from tests.support import scripts


class Called(Protocol):
    """Return the questions that were asked, each as the database and the first words."""

    def __call__(self, role: str, source: str, names: str = "a,b", *, fails: bool = False) -> list[str]: ...


@pytest.fixture
def called(tmp_path: Path) -> Called:
    asked, program = tmp_path / "asked", tmp_path / "psql"

    def call(role: str, source: str, names: str = "a,b", *, fails: bool = False) -> list[str]:
        asked.write_text("")
        program.write_text(f"""#!/bin/bash
            printf '%s: %s\\n' "$3" "${{5//$'\\n'/ }}" >>{asked}
            case $5 in
            *pg_stat_wal_receiver*) echo "{source}" ;;
            *string_agg*) echo "{names}"; exit {int(fails)} ;;
            esac
        """)
        program.chmod(0o755)
        subprocess.run(
            ["bash", scripts.folder() / "former-slots.sh", "on_start", role, "cluster1-ha"],
            env={"PATH": f"{tmp_path}:/usr/bin:/bin", "FORMER_SLOTS_TRIES": "1"},
            check=fails is False,
            timeout=30,
        )
        return asked.read_text().splitlines()

    return call


def test_a_primary_keeps_its_slots(called: Called) -> None:
    assert called("primary", "host=x") == []


def test_a_server_that_does_not_follow_yet_keeps_its_slots(called: Called) -> None:
    assert [line for line in called("replica", "") if "drop" in line] == []


def test_only_slots_that_the_primary_has_are_dropped(called: Called) -> None:
    _, at_the_primary, drop = called("replica", "host=x dbname=postgres")
    assert at_the_primary.startswith("host=x dbname=postgres: SELECT string_agg")
    assert drop.startswith("postgres: ")
    assert "failover AND NOT synced AND NOT active AND pg_is_in_recovery()" in drop
    assert drop.endswith("slot_name = ANY (string_to_array('a,b', ','))")


def test_nothing_is_dropped_when_the_primary_does_not_answer(called: Called) -> None:
    assert [line for line in called("replica", "host=x", fails=True) if "pg_drop" in line] == []
