"""Errors of the operator.

* OperatorError
  x TerminalError        retrying cannot help; wait for a change of the object
    + InvalidSpec        the user's object asks for something impossible; the message is for the user
  x CommandFailed        a command in a container ended with a status other than 0
  x ApiError             see `pgoperator.kube.errors`
"""


class OperatorError(Exception):
    """Base of everything this operator raises on purpose."""


class TerminalError(OperatorError):
    """An error that another try of the same pass cannot mend."""


class InvalidSpec(TerminalError):  # noqa: N818 - the name states the fact
    """The user's object asks for something that cannot be; the message is shown in its status.

    `reason` is the CamelCase word for the condition, the message the sentence for a person.
    """

    def __init__(self, message: str, *, reason: str = "InvalidSpec") -> None:
        """Keep the condition's reason beside the sentence."""
        super().__init__(message)
        self.reason = reason


class CommandFailed(OperatorError):  # noqa: N818
    """A command in a container ended with a status other than 0.

    `output` holds its standard error, already free of secrets: callers pass secrets by standard input only.
    `printed` holds its standard output, where pgBackRest complains; that of others may be data, so it is not
    part of the message.
    """

    def __init__(self, what: str, code: int, output: str, printed: str = "") -> None:
        """Keep what ran, its exit status and what it said."""
        super().__init__(f"{what} ended with status {code}: {output.strip()[-1000:]}")
        self.what = what
        self.code = code
        self.output = output
        self.printed = printed

    @property
    def said(self) -> str:
        """Its words on standard error or, without any, those on standard output."""
        return self.output.strip() or self.printed.strip()
