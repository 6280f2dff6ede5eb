"""Options of pgBackRest as users write them in `spec.options`, as words for a command line.

People write `--type=full`, `--target="2024-01-01 00:00:00+00"`, `--type full` in one entry or in two, or
several options in one entry: as in a shell, but no shell ever sees them. What the operator decides is
refused, by name.
"""

import re
import shlex
from collections.abc import Iterable, Sequence

from pgoperator.errors import InvalidSpec

REASON = "InvalidOption"
"""The reason of the InvalidSpec that a refused option raises."""

# The operator says which cluster, which repository, how to reach them and where files are.
_OURS = (
    r"repo|stanza|config(-.*)?|cmd(-.*)?|lock-path|spool-path|log-.*|tls-.*"
    r"|pg\d*-.*|repo\d*-(host|path|type|s3|gcs|azure|storage|sftp|cipher)(-.*)?|help|version|exec-id|remote-type"
    r"|beta|neutral-umask|job-retry.*"
)
_FORBIDDEN = {
    # A backup of a stopped server or without its WAL cannot be restored to a consistent state.
    "backup": re.compile(rf"{_OURS}|force|online|stop-auto|set|archive-check|archive-mode-check"),
    "restore": re.compile(rf"{_OURS}|target-action|link-map|link-all|recovery-option|archive-mode|force"),
}
_NAME = re.compile(r"--(?:(?:no|reset)-)?([a-z0-9][a-z0-9-]*)")
OUR_ANNOTATIONS = "percona.com/"
_TYPES = {
    "backup": ("full", "diff", "incr"),
    "restore": ("default", "immediate", "lsn", "name", "none", "preserve", "standby", "time", "xid"),
}


def backup(options: Iterable[str]) -> list[str]:
    """Words for `pgbackrest backup`; InvalidSpec names the option that cannot be used."""
    return _words("backup", options)


def restore(options: Iterable[str]) -> list[str]:
    """Words for `pgbackrest restore`; InvalidSpec names the option that cannot be used."""
    return _words("restore", options)


def value(words: Sequence[str], name: str) -> str | None:
    """The last value of an option among words of this module, None when it is not there."""
    start = f"--{name}="
    return next((word.removeprefix(start) for word in reversed(words) if word.startswith(start)), None)


def _words(command: str, options: Iterable[str]) -> list[str]:
    words: list[str] = []
    for option in options:
        _append(command, words, option)
    for word in words:
        _check(command, word)
    return words


def _append(command: str, words: list[str], option: str) -> None:
    """Split an entry as a shell would; `--name value` becomes `--name=value`, which has one meaning only."""
    try:
        parts = shlex.split(option)
    except ValueError as error:
        raise InvalidSpec(f"options: {option!r} cannot be read: {error}", reason=REASON) from None
    for part in parts:
        if part.startswith("-"):
            words.append(part)
        elif words and "=" not in words[-1]:
            words[-1] += f"={part}"
        else:
            raise InvalidSpec(
                f"options: {part!r} in {option!r} belongs to no option of pgbackrest {command}; "
                "write --name=value, and quotes around a value with spaces",
                reason=REASON,
            )


def _check(command: str, word: str) -> None:
    name, _, given = word.partition("=")
    match = _NAME.fullmatch(name)
    if match is None or "\0" in word or "\n" in word:
        raise InvalidSpec(f"options: {name!r} is not an option of pgbackrest {command}", reason=REASON)
    if _FORBIDDEN[command].fullmatch(match[1]):
        raise InvalidSpec(f"options: {name} cannot be used: {_why(match[1])}", reason=REASON)
    if match[1] == "type" and given not in _TYPES[command]:
        raise InvalidSpec(
            f"options: --type={given} is not known to pgbackrest {command}; it knows "
            f"{', '.join(_TYPES[command])}",
            reason=REASON,
        )
    if match[1] == "annotation" and given.startswith(OUR_ANNOTATIONS):
        raise InvalidSpec(
            f"options: --annotation={given.partition('=')[0]} cannot be used: annotations below "
            f"{OUR_ANNOTATIONS} are the operator's",
            reason=REASON,
        )


def _why(name: str) -> str:
    if name == "repo":
        return "the repository is spec.repoName"
    if name == "stanza" or re.match(r"pg\d*-", name):
        return "the cluster is spec.pgCluster"
    return "the operator sets it"
