"""Errors have reasons that a condition accepts, regardless of the response."""

import pytest

from pgoperator.kube.errors import ApiError, Forbidden, Invalid, ServerError, from_status


@pytest.mark.parametrize(
    ("status", "reason", "cls", "expected"),
    [
        (403, "Forbidden", Forbidden, "Forbidden"),
        (403, "images must come from registry.corp", Forbidden, "Forbidden"),
        (400, "", Invalid, "Invalid"),
        (400, "Bad Request", Invalid, "Invalid"),
        (403, "Invalid response status", Forbidden, "Forbidden"),
        (500, "x" * 2000, ServerError, "ServerError"),
        (418, "I'm a teapot", ApiError, "ApiError"),
    ],
)
def test_the_reason_is_one_word(status: int, reason: str, cls: type[ApiError], expected: str) -> None:
    error = from_status(status, reason, "", target=("Pod", "ns", "p"))
    assert (type(error), error.reason) == (cls, expected)
    if reason != expected:
        assert reason in str(error)


def test_the_words_of_a_webhook_are_in_the_message_once() -> None:
    assert str(from_status(403, "policy says no", "denied")) == "denied (policy says no)"
    assert str(from_status(403, "policy says no", "denied: policy says no")) == "denied: policy says no"
