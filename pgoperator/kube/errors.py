"""What the API server answers when it does not do what was asked.

* ApiError            any answer of 4xx or 5xx without a class of its own
  x NotFound          404
  x AlreadyExists     409, reason AlreadyExists
  x Conflict          409, a precondition (uid, resourceVersion) did not hold
  x Forbidden         401 and 403
  x Invalid           400 and 422: the object is wrong, another try will not help
  x Gone              410, or an ERROR event Expired: list again
  x Throttled         429
  x ServerError       5xx
  x Unreachable       no answer: refused, cut, timed out; `status` is 0
"""

from pgoperator.errors import OperatorError


class ApiError(OperatorError):
    """The API server refused; the attributes are those of its Status answer."""

    def __init__(  # noqa: PLR0917 - the parts of a Status, in its order
        self, status: int, reason: str, message: str, kind: str = "", namespace: str = "", name: str = ""
    ) -> None:
        """Keep what was asked for beside the answer."""
        what = " ".join(part for part in (kind, "/".join(filter(None, (namespace, name)))) if part)
        super().__init__(f"{what}: {message or reason}" if what else message or reason)
        self.status = status
        self.reason = reason
        self.message = message
        self.kind = kind
        self.namespace = namespace
        self.name = name
        self.retry_after: float | None = None  # seconds, as the server asked


class NotFound(ApiError):  # noqa: N818 - the names state facts
    """No such object, namespace or kind."""


class AlreadyExists(ApiError):  # noqa: N818
    """An object of this name is there."""


class Conflict(ApiError):  # noqa: N818
    """The object is not the one (uid) or not as (resourceVersion) the caller believed."""


class Forbidden(ApiError):  # noqa: N818
    """The operator's account may not do this, or its token was refused."""


class Invalid(ApiError):  # noqa: N818
    """The object breaks a rule of its schema; the message names the field."""


class Gone(ApiError):  # noqa: N818
    """The resourceVersion or continue token is older than what the server keeps."""


class Throttled(ApiError):  # noqa: N818
    """Too many requests; `retry_after` seconds from now the server may accept again."""


class ServerError(ApiError):
    """The server failed or is starting."""


class Unreachable(ApiError):  # noqa: N818
    """No answer came; whether the request was carried out is unknown."""

    def __init__(self, message: str, kind: str = "", namespace: str = "", name: str = "") -> None:
        """Status 0 stands for no answer."""
        super().__init__(0, "Unreachable", message, kind, namespace, name)


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
_SERVER_ERRORS = 500


def from_status(
    status: int,
    reason: str,
    message: str,
    *,
    target: tuple[str, str, str] = ("", "", ""),
    retry_after: float | None = None,
) -> ApiError:
    """Return the error for an answer; `target` is (kind, namespace, name), `retry_after` in seconds."""
    cls = _BY_STATUS.get(status, ServerError if status >= _SERVER_ERRORS else ApiError)
    if reason == "AlreadyExists":
        cls = AlreadyExists
    elif reason == "Expired":
        cls = Gone
    error = cls(status, reason, message, *target)
    error.retry_after = retry_after
    return error
