"""What somebody who may only ask for a backup or a restore can put into its Job."""

from typing import Any

import pytest

from pgoperator.api.common import Environment
from pgoperator.api.pgbackup import PGBackup
from pgoperator.api.pgrestore import PGRestore
from pgoperator.kube.manifest import Manifest
from reconcilers.pgbackup import decide_state
from reconcilers.pgcluster.pods import decide_variables
from reconcilers.pgrestore import build_job
from tests.support.views import NOW, view
from tests.unit.pgcluster.specs import backups

PLAIN = {"name": "A", "value": "b"}
SECRET: Manifest = {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "any", "key": "k"}}}
SOURCE: Manifest = {"secretRef": {"name": "any"}}
TEXTS = {
    **dict.fromkeys(("BASH_ENV", "ENV", "PS4", "IFS", "PATH", "SHELLOPTS", "BASHOPTS"), "$(id)"),
    **dict.fromkeys(("LD_PRELOAD", "LD_LIBRARY_PATH", "GCONV_PATH", "LOCPATH", "OPENSSL_CONF"), "/tmp/x"),
    **dict.fromkeys(("PGBACKREST_CMD", "PGBACKREST_CONFIG", "PGBACKREST_PG1_PATH", "PGBACKREST_STANZA"), "/"),
    **dict.fromkeys(("PGBACKREST_REPO1_S3_ENDPOINT", "PGBACKREST_REPO1_HOST"), "evil.example"),
    **dict.fromkeys(
        ("PGBACKREST_TYPE", "PGBACKREST_TARGET", "PGBACKREST_SET", "PGBACKREST_RECOVERY_OPTION"), "x"
    ),
    **dict.fromkeys(("TERMINATION_LOG", "WORK", "PGDATA", "STANZA", "REPO", "WAL_LAST", "PATRONI_NAME"), "/"),
    "BASH_FUNC_echo%%": "() { id; }",
    "RETRY_SECONDS": "a[$(id)]",
    "STALL_SECONDS": "1 || x=1",
    "TZ\n": "x",
}
HOSTILE = [{"env": [{"name": name, "value": text}]} for name, text in TEXTS.items()] + [
    {"env": [SECRET]},
    {"env": [{**SECRET, "name": "TZ"}]},
    {"env": [{**SECRET, "name": "RETRY_SECONDS"}]},
    {"envFrom": [SOURCE]},
    {"envFrom": [{"configMapRef": {"name": "any"}}]},
    {"env": [{"name": "TZ", "value": "UTC"}], "envFrom": [SOURCE]},
]


def refusal(options: Any, **spec: Any) -> str:
    return decide_variables.refusal(Environment.model_validate(options), view(**spec).cluster)


def backup(options: Any, state: str) -> PGBackup:
    metadata = {"name": "b1", "namespace": "ns1", "uid": "u", "creationTimestamp": NOW.isoformat()}
    spec = {"pgCluster": "cluster1", "repoName": "repo1", "containerOptions": options}
    return PGBackup.parse({"metadata": metadata, "spec": spec, "status": {"state": state} if state else {}})


@pytest.mark.parametrize("options", HOSTILE, ids=str)
def test_no_job_takes_what_runs_code_or_reads_a_secret(options: Any) -> None:
    assert "containerOptions: " in refusal(options)
    for state in ("", "Starting"):
        assert decide_state.refusal(backup(options, state), view().cluster) == refusal(options)
    # After the check of a restore, its options may change.
    spec = {"pgCluster": "cluster1", "repoName": "repo1", "containerOptions": options}
    restore = PGRestore.parse(
        {
            "metadata": {"name": "back", "namespace": "ns1", "uid": "back"},
            "spec": spec,
            "status": {"instance": "cluster1-instance1-abcd"},
        }
    )
    container = build_job.manifest(view(), restore, [])["spec"]["template"]["spec"]["containers"][0]
    assert not container.get("envFrom")
    assert not [one for one in container["env"] if one in options.get("env", ())]


@pytest.mark.parametrize(
    "name", ["TZ", "LANG", "LC_ALL", "PGBACKREST_PROCESS_MAX", "PGBACKREST_IO_TIMEOUT", "RETRY_SECONDS"]
)
def test_speed_and_patience_may_be_set(name: str) -> None:
    assert refusal({"env": [{"name": name, "value": "9"}]}) == ""


@pytest.mark.parametrize(
    "section",
    [{}, {"manual": {"repoName": "repo1"}}, {"restore": {"enabled": True, "repoName": "repo1"}}],
    ids=["pgbackrest", "manual", "restore"],
)
def test_what_the_cluster_has_itself_is_allowed(section: Any) -> None:
    """So is each request by an annotation, which carries the variables of the cluster."""
    options = {"env": [PLAIN, SECRET], "envFrom": [SOURCE]}
    fields = {name: value | options for name, value in section.items()} or options
    wanted = backups(**fields)
    assert refusal(options, backups=wanted) == ""
    assert "'KEY'" in refusal(
        {"env": [{**SECRET, "valueFrom": {"secretKeyRef": {"name": "z", "key": "k"}}}]}, backups=wanted
    )


def test_a_backup_that_runs_is_not_ended_for_it() -> None:
    assert decide_state.refusal(backup({"env": [PLAIN]}, "Running"), view().cluster) == ""
