"""What older definitions do not declare."""

from pgoperator.kube.schema import undeclared, without

ANSWER = """failed to create typed patch object (ns/c; pgv2.percona.com/v2, Kind=PerconaPGCluster): errors:
  .status.repos[name="repo1"].reachable: field not declared in schema
  .status.databaseInitSQL: field not declared in schema"""


def test_every_path_is_found() -> None:
    assert undeclared(ANSWER) == ['.status.repos[name="repo1"].reachable', ".status.databaseInitSQL"]
    assert undeclared("no endpoints available for service: try again") == []


def test_a_field_goes_from_every_item_and_nothing_else_does() -> None:
    manifest = {"status": {"repos": [{"name": "a", "reachable": True}, {"name": "b"}], "state": "ready"}}
    assert without(manifest, '.status.repos[name="a"].reachable') == {
        "status": {"repos": [{"name": "a"}, {"name": "b"}], "state": "ready"}
    }
    assert without(manifest, ".status.state")["status"].keys() == {"repos"}
    assert without(manifest, ".status.absent.field") == manifest
