"""Errors of requests to the API server.

* ApiError            any other response with status 4xx or 5xx
  x NotFound          404
  x AlreadyExists     409, reason AlreadyExists
  x Conflict          409, a precondition (uid, resourceVersion) failed
  x Forbidden         401 and 403
  x Invalid           400 and 422: the object is invalid, a retry does not help
  x Gone              410, or an ERROR event with reason Expired: list again
  x Throttled         429
  x ServerError       5xx
  x NotConnected      5xx for a command: usually the pod's node is down, not the API server
  x Unreachable       no response: connection refused, lost or timed out; `status` is 0
    + Silent          a watch without data, which is normal for a kind without changes

`reason` is always one CamelCase word, so that it can be the reason of a condition.
"""

import re

from pgoperator.errors import OperatorError

_WORD = re.compile(r"[A-Za-z][A-Za-z0-9]{0,99}")


class ApiError(OperatorError):
    """The API server refused a request; the attributes are those of its Status response."""

    def __init__(  # noqa: PLR0917 - the fields of a Status, in its order
        self, status: int, reason: str, message: str, kind: str = "", namespace: str = "", name: str = ""
    ) -> None:
        """Store the requested object (kind, namespace, name) with the response.

        Admission webhooks can set any text as the reason. A reason that is not one word becomes a part of the
        message, and the name of the class replaces it.
        """
        if not _WORD.fullmatch(reason):
            if reason and reason not in message:
                message = f"{message} ({reason})" if message else reason
            reason = type(self).__name__
        target = " ".join(part for part in (kind, "/".join(filter(None, (namespace, name)))) if part)
        super().__init__(f"{target}: {message or reason}" if target else message or reason)
        self.status = status
        self.reason = reason
        self.message = message
        self.kind = kind
        self.namespace = namespace
        self.name = name
        self.retry_after: float | None = None  # seconds, from the Retry-After header


class NotFound(ApiError):  # noqa: N818 - the names state facts
    """The object, namespace or kind does not exist."""


class AlreadyExists(ApiError):  # noqa: N818
    """An object with this name exists."""


class Conflict(ApiError):  # noqa: N818
    """The object's uid or resourceVersion differs from the expected one."""


class Forbidden(ApiError):  # noqa: N818
    """The operator's service account lacks the permission, or its token was rejected."""


class Invalid(ApiError):  # noqa: N818
    """The object violates its schema; the message names the field."""


class Gone(ApiError):  # noqa: N818
    """The resourceVersion or continue token has expired."""


class Throttled(ApiError):  # noqa: N818
    """Too many requests; retry after `retry_after` seconds."""


class ServerError(ApiError):
    """The server failed or is still starting."""


class NotConnected(ApiError):  # noqa: N818
    """The API server could not connect a command to its container; the pod's node may be down."""


class Unreachable(ApiError):  # noqa: N818
    """No response; it is unknown whether the server carried out the request."""

    def __init__(self, message: str, kind: str = "", namespace: str = "", name: str = "") -> None:
        """Set status 0, which means no response."""
        super().__init__(0, "Unreachable", message, kind, namespace, name)


class Silent(Unreachable):
    """A watch received no data for some time: nothing changed, or the connection is dead."""


_BY_STATUS: dict[int, type[ApiError]] = {
    400: Invalid,
    401: Forbidden,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: Invalid,
    429: Throttled,
}
SERVER_ERRORS = 500


def from_status(
    status: int,
    reason: str,
    message: str,
    *,
    target: tuple[str, str, str] = ("", "", ""),
    retry_after: float | None = None,
) -> ApiError:
    """Return the error for a response; `target`: (kind, namespace, name), `retry_after`: seconds."""
    cls = _BY_STATUS.get(status, ServerError if status >= SERVER_ERRORS else ApiError)
    if reason == "AlreadyExists":
        cls = AlreadyExists
    elif reason == "Expired":
        cls = Gone
    error = cls(status, reason, message, *target)
    error.retry_after = retry_after
    return error
