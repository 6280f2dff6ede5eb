"""Errors of the operator.

* OperatorError
  x TerminalError        a retry cannot help; reconciled again when the object changes
    + InvalidSpec        the user's object requests something impossible; the message is for the user
  x CommandFailed        a command in a container failed with a non-zero exit status
  x CommandTimedOut      a command in a container did not finish in time
  x ApiError             see `pgoperator.kube.errors`
"""


class OperatorError(Exception):
    """Base class of all errors that this operator raises on purpose."""


class TerminalError(OperatorError):
    """An error that a retry with the same objects cannot fix."""


class InvalidSpec(TerminalError):  # noqa: N818 - the name states the fact
    """The user's object requests something impossible; its status shows the message.

    `reason` is the condition's reason in CamelCase, the message is a sentence for the user.
    """

    def __init__(self, message: str, *, reason: str = "InvalidSpec") -> None:
        """Store the condition's reason with the message."""
        super().__init__(message)
        self.reason = reason


class CommandFailed(OperatorError):  # noqa: N818
    """A command in a container failed with a non-zero exit status.

    `stderr` is its standard error. It contains no secrets, because callers pass secrets only through standard
    input. `stdout` is its standard output, where pgBackRest writes errors; it can be data of other commands,
    so it is not part of the message.
    """

    def __init__(self, command: str, code: int, stderr: str, stdout: str = "") -> None:
        """Store the command, its exit status and both streams."""
        super().__init__(f"{command} failed with exit status {code}: {stderr.strip()[-1000:]}")
        self.command = command
        self.code = code
        self.stderr = stderr
        self.stdout = stdout

    @property
    def diagnostics(self) -> str:
        """Its standard error or, if that is empty, its standard output."""
        return self.stderr.strip() or self.stdout.strip()


class CommandTimedOut(OperatorError):  # noqa: N818
    """A command in a container did not finish in time; it can still be running."""
