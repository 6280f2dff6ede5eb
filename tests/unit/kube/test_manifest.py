import pytest

from pgoperator.kube.kinds import BY_NAME, DEPLOYMENT, PG_CLUSTER, POD, kind_of
from pgoperator.kube.manifest import Key, Kind, is_deleting, is_name, key_of, labels_of, owner_of, version_of


@pytest.mark.parametrize(
    ("kind", "arguments", "path"),
    [
        (POD, ("ns", "p", "exec"), "/api/v1/namespaces/ns/pods/p/exec"),
        (POD, (None,), "/api/v1/pods"),
        (DEPLOYMENT, ("ns",), "/apis/apps/v1/namespaces/ns/deployments"),
        (
            PG_CLUSTER,
            ("ns", "c", "status"),
            "/apis/pgv2.percona.com/v2/namespaces/ns/perconapgclusters/c/status",
        ),
        (Kind("v1", "Node", "nodes", namespaced=False), ("ns", "n"), "/api/v1/nodes/n"),
    ],
)
def test_paths(kind: Kind, arguments: tuple[str, ...], path: str) -> None:
    assert kind.path(*arguments) == path


@pytest.mark.parametrize(
    ("name", "quoted"),
    [("a b", "a%20b"), ("a?x=y", "a%3Fx%3Dy"), ("a#b", "a%23b"), ("a\n", "a%0A"), ("ä", "%C3%A4")],
)
def test_names_are_quoted(name: str, quoted: str) -> None:
    assert POD.path(name, name) == f"/api/v1/namespaces/{quoted}/pods/{quoted}"


@pytest.mark.parametrize("name", ["", ".", "..", "../../kube-system/secrets/x", "a%2Fb"])
def test_a_name_that_no_object_can_have_has_no_path(name: str) -> None:
    assert not is_name(name)
    with pytest.raises(ValueError):
        POD.path("ns", name)
    with pytest.raises(ValueError):
        POD.path(name)


def test_questions() -> None:
    controller = {"uid": "u2", "controller": True, "kind": "K", "name": "n"}
    meta = {
        "name": "a",
        "namespace": "b",
        "ownerReferences": [{"uid": "u1"}, controller],
        "resourceVersion": "7",
    }
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta}
    assert key_of(pod) == Key("Pod", "b", "a")
    assert owner_of(pod) == "u2"
    assert labels_of(pod) == {}
    assert not is_deleting(pod)
    assert version_of(pod) == 7
    assert kind_of(pod) == POD


def test_nobody_controls_an_object_with_plain_owners() -> None:
    assert owner_of({"metadata": {"name": "a", "ownerReferences": [{"uid": "u"}]}}) is None


def test_every_kind_is_found_by_its_word() -> None:
    assert all(kind.kind == word for word, kind in BY_NAME.items())
    assert len(BY_NAME) == 19
