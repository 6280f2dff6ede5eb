"""A new cluster from copies of a former cluster's volumes: data and backups."""

from collections.abc import Callable

from tests.support.backups import first_backup
from tests.support.clusters import Cluster, example
from tests.support.kubectl import until


def test_a_new_cluster_begins_with_the_volumes_of_a_former_one(new_cluster: Callable[..., Cluster]) -> None:
    former = new_cluster(example("former", instances=1, poolers=1))
    former.apply()
    former.wait_ready()
    first = first_backup(former)
    former.psql("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n")
    instance = former.primary_name().removesuffix("-0")
    identity = former.psql("SELECT system_identifier FROM pg_control_system()")
    volumes = {
        "pgDataVolume": {"pvcName": f"{instance}-pgdata", "annotations": {"why": "moving"}},
        "pgBackRestVolume": {"pvcName": "former-repo1"},
    }
    manifest = example("heir", instances=2, poolers=1)
    manifest["spec"]["dataSource"] = {"volumes": volumes}
    heir = new_cluster(manifest)
    heir.apply()

    def in_use() -> bool:
        return heir.condition("Ready").get("reason") == "VolumeInUse"

    until("a volume in use is refused", in_use, 30, heir.explain)
    former.kubectl.delete("perconapgclusters", former.name)
    heir.wait_ready(300)
    assert heir.psql("SELECT count(*) FROM kept") == "1000"
    assert heir.psql("SELECT system_identifier FROM pg_control_system()") == identity
    assert heir.kubectl.get("job", "heir-move-pgdata-dir")["metadata"]["annotations"]["why"] == "moving"
    assert "dataSource" not in heir.condition("FieldsIgnored").get("message", "")
    first_backup(heir)
    info = heir.kubectl.exec("heir-repo-host-0", "pgbackrest", "--stanza=db", "info", container="pgbackrest")
    assert first in info, "the former cluster's backups are there"
    for claim in (f"{instance}-pgdata", "former-repo1"):
        assert heir.kubectl.find("persistentvolumeclaim", claim), "a volume of the former cluster has gone"
