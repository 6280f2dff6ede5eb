import pytest

from pgoperator.errors import InvalidSpec
from pgoperator.postgres import pgbackrest_options as options


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--type=time"], ["--type=time"]),
        (["--type", "time"], ["--type=time"]),
        (["--type time"], ["--type=time"]),
        (['--target="2024-01-01 00:00:00+00"'], ["--target=2024-01-01 00:00:00+00"]),
        (
            ["--type=time --target='2024-01-01 00:00:00+00'"],
            ["--type=time", "--target=2024-01-01 00:00:00+00"],
        ),
        (["--target='$(reboot); `id`'"], ["--target=$(reboot); `id`"]),
        (["--target=2024-01-01 00:00:00+00"], None),
        (["--delta", "--no-sck-keep-alive"], ["--delta", "--no-sck-keep-alive"]),
        (["--db-include=a", "--db-include=b"], ["--db-include=a", "--db-include=b"]),
        ([], []),
        ([""], []),
    ],
)
def test_options_become_words(given: list[str], words: list[str] | None) -> None:
    if words is None:
        with pytest.raises(InvalidSpec):
            options.restore(given)
    else:
        assert options.restore(given) == words


@pytest.mark.parametrize(
    "option",
    [
        "--repo=2",
        "--repo 2",
        "--stanza=other",
        "--pg1-path=/x",
        "--pg-host=evil",
        "--config=/x",
        "--config-include-path=/x",
        "--cmd=/bin/sh",
        "--lock-path=/x",
        "--spool-path=/x",
        "--log-path=/x",
        "--tls-server-auth=x",
        "--repo1-path=/x",
        "--repo1-host=evil",
        "--no-online",
        "--force",
        "--annotation=percona.com/backup-name=x",
        "--type=huge",
        "backup",
        "-x",
        "--",
        "--type='full",
        "--exclude=a\nb",
    ],
)
def test_what_a_backup_may_not_say(option: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        options.backup([option])
    assert caught.value.reason == "InvalidOption"
    assert option.partition("=")[0].partition(" ")[0] in str(caught.value)


@pytest.mark.parametrize(
    "option",
    ["--repo=1", "--target-action=pause", "--link-map=pg_wal=/x", "--recovery-option=restore_command=x"],
)
def test_what_a_restore_may_not_say(option: str) -> None:
    with pytest.raises(InvalidSpec, match=option.partition("=")[0]):
        options.restore([option])


def test_what_a_backup_may_say() -> None:
    given = [
        "--type=incr",
        "--annotation=team=data",
        "--process-max=2",
        "--compress-type=zst",
        "--start-fast",
    ]
    assert options.backup(given) == given


def test_the_last_value_counts() -> None:
    words = ["--type=time", "--type=immediate", "--set=20240101-000000F"]
    assert options.option_value(words, "type") == "immediate"
    assert options.option_value(words, "set") == "20240101-000000F"
    assert options.option_value(words, "target") is None


@pytest.mark.parametrize(
    "value",
    ["base", "base/", "base/16384", "global/pg_control", "./pg_wal", "pg_xact/0000", "PG_VERSION", "", "/"],
)
def test_a_backup_without_data_is_refused(value: str) -> None:
    with pytest.raises(InvalidSpec, match="would lack data"):
        options.backup([f"--exclude={value}"])


@pytest.mark.parametrize("value", ["log/", "pg_log", "pg_log/", "junk", "basement/base"])
def test_files_that_are_no_data_may_be_left_out(value: str) -> None:
    assert options.backup([f"--exclude={value}"]) == [f"--exclude={value}"]
