import pytest

from pgoperator.kube.compare import covers, digest, project


@pytest.mark.parametrize(
    ("stored", "desired"),
    [
        ({"a": 1, "b": 2}, {"a": 1}),
        ({"a": {"b": [{"c": 1, "d": 2}]}}, {"a": {"b": [{"c": 1}]}}),
        ({}, {"a": None, "b": False, "c": 0, "d": "", "e": []}),
        ({"requests": {"memory": "1Gi"}}, {"requests": {"memory": "1024Mi"}}),
        ({"limits": {"cpu": "1"}}, {"limits": {"cpu": "1000m"}}),
        ({"limits": {"cpu": "500m"}}, {"limits": {"cpu": 0.5}}),
        ({"limits": {"cpu": "2"}}, {"limits": {"cpu": 2}}),
        ({"emptyDir": {"sizeLimit": "1k"}}, {"emptyDir": {"sizeLimit": "1e3"}}),
        (
            {"resources": {"requests": {"storage": "1073741824"}}},
            {"resources": {"requests": {"storage": "1Gi"}}},
        ),
    ],
)
def test_as_desired(stored: object, desired: object) -> None:
    assert covers(stored, desired)


@pytest.mark.parametrize(
    ("stored", "desired"),
    [
        ({"a": 1}, {"a": 2}),
        ({}, {"a": 1}),
        ({}, {"emptyDir": {}}),
        ({"a": [1, 2]}, {"a": [1]}),
        ({"a": [1]}, {"a": [1, 2]}),
        ({"a": "1"}, {"a": 1}),
        ({"a": 1}, {"a": True}),
        ({"a": {}}, {"a": []}),
        ({"requests": {"memory": "1Gi"}}, {"requests": {"memory": "1G"}}),
        ({"env": [{"name": "SIZE", "value": "1Gi"}]}, {"env": [{"name": "SIZE", "value": "1024Mi"}]}),
        ({"limits": {"cpu": "one"}}, {"limits": {"cpu": "two"}}),
        (None, {"a": 1}),
    ],
)
def test_not_as_desired(stored: object, desired: object) -> None:
    assert not covers(stored, desired)


def test_projection_shows_only_what_is_spoken_of() -> None:
    stored = {"a": {"b": 1, "x": 2}, "l": [{"c": 3, "y": 4}], "z": 5, "m": [1, 2]}
    desired = {"a": {"b": 9}, "l": [{"c": 9}], "m": [9], "gone": 1}
    assert project(stored, desired) == {"a": {"b": 1}, "l": [{"c": 3}], "m": [1, 2]}


def test_digest_ignores_the_order_of_fields() -> None:
    assert digest({"a": 1, "b": [1]}) == digest({"b": [1], "a": 1})
    assert digest({"b": [1, 2]}) != digest({"b": [2, 1]})
