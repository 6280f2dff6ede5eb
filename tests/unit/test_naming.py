"""Names that other people's tools know, and the room that they need."""

from itertools import islice

import pytest

from pgoperator import naming
from pgoperator.errors import InvalidSpec

C = "cluster1"


def test_names_are_those_of_percona_operator() -> None:
    instance = "cluster1-instance1-bcdf"
    assert {
        "pods": naming.pods(C),
        "ha": naming.patroni_scope(C),
        "ha-config": naming.patroni_config(C),
        "primary": naming.primary(C),
        "replicas": naming.replicas(C),
        "pgbouncer": naming.pgbouncer(C),
        "repo-host": naming.repo_host(C),
        "repo2": naming.repo_volume(C, "repo2"),
        "pgbackrest-config": naming.pgbackrest_config(C),
        "pgbackrest": naming.pgbackrest(C),
        "instance": naming.instance_account(C),
        "config": naming.cluster_config(C),
        "cluster-ca-cert": naming.cluster_ca(C),
        "cluster-cert": naming.cluster_certificate(C),
        "replication-cert": naming.replication_certificate(C),
        "pguser-app": naming.user_secret(C, "app"),
        "set-instance1": naming.set_disruption_budget(C, "instance1"),
        "instance1-bcdf-certs": naming.instance_certificates(instance),
        "instance1-bcdf-config": naming.instance_config(instance),
        "instance1-bcdf-pgdata": naming.instance_volume(instance),
        "instance1-bcdf-0": naming.pod(instance),
    } == {key: f"cluster1-{key}" for key in (
        *("pods", "ha", "ha-config", "primary", "replicas", "pgbouncer", "repo-host", "repo2"),
        *("pgbackrest-config", "pgbackrest", "instance", "config", "cluster-ca-cert", "cluster-cert"),
        *("replication-cert", "pguser-app", "set-instance1", "instance1-bcdf-certs"),
        *("instance1-bcdf-config", "instance1-bcdf-pgdata", "instance1-bcdf-0"),
    )}  # fmt: skip


def test_paths_are_those_of_percona_operator() -> None:
    assert naming.data_directory(17) == "/pgdata/pg17"
    assert (naming.TLS_PATH, naming.PATRONI_PATH) == ("/pgconf/tls", "/etc/patroni")
    assert (naming.SOCKET_PATH, naming.DATA_PATH) == ("/tmp/postgres", "/pgdata")
    assert naming.PGBACKREST_CONF_PATH == "/etc/pgbackrest/conf.d"
    assert naming.PGBACKREST_SERVER_PATH == "/etc/pgbackrest/server"


def test_instances_are_named_the_same_every_time_and_differ() -> None:
    first, again = (list(islice(naming.instance_names(C, "a"), 500)) for _ in range(2))
    # The search for names ends, however many are asked for.
    assert 9_000 < len(list(islice(naming.instance_names(C, "a"), 600_000))) < 10_000
    assert first == again
    assert len(set(first)) == 500
    assert not set(first) & set(islice(naming.instance_names("cluster2", "a"), 500))


def test_an_instance_s_last_characters_come_from_the_safe_alphabet() -> None:
    for name in islice(naming.instance_names(C, "a"), 200):
        cluster, set_name, suffix = name.rsplit("-", 2)
        assert (cluster, set_name, len(suffix)) == (C, "a", 4)
        assert set(suffix) <= set("bcdfghjklmnpqrstvwxz2456789")


def test_a_volume_leads_back_to_its_instance() -> None:
    assert naming.instance_of_volume(naming.instance_volume("cluster1-a-bcdf")) == "cluster1-a-bcdf"


@pytest.mark.parametrize(("name", "sets"), [("c" * 42, ["abcd"]), ("c", ["s" * 45]), ("a-1", ["x", "y"])])
def test_names_with_room_pass(name: str, sets: list[str]) -> None:
    naming.check_names(name, sets)
    # Labels of pods: controller-revision-hash is the StatefulSet's name, `-` and up to ten characters.
    longest = [naming.repo_host(name), *(next(naming.instance_names(name, one)) for one in sets)]
    assert all(len(one) + 11 <= 63 for one in longest)


@pytest.mark.parametrize(
    ("name", "sets", "reason"),
    [
        ("c" * 43, ["a"], "NameTooLong"),
        ("c" * 42, ["abcde"], "NameTooLong"),
        ("c", ["a", "s" * 46], "NameTooLong"),
        ("1st", ["a"], "InvalidName"),
        ("my.cluster", ["a"], "InvalidName"),
        ("-", ["a"], "InvalidName"),
    ],
)
def test_names_that_cannot_be_are_refused(name: str, sets: list[str], reason: str) -> None:
    with pytest.raises(InvalidSpec) as refused:
        naming.check_names(name, sets)
    assert refused.value.reason == reason
    assert name in str(refused.value)
