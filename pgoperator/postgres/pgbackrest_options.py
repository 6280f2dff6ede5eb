"""Converts the pgBackRest options of `spec.options` to command-line arguments.

Valid entries are `--type=full`, `--target="2024-01-01 00:00:00+00"`, `--type full` in one entry or two, and
several options in one entry. Quotes work as in a shell, but no shell runs. Options that the operator sets
itself are refused by name.
"""

import difflib
import re
import shlex
from collections.abc import Iterable, Sequence

from pgoperator.errors import InvalidSpec

REASON = "InvalidOption"
"""Condition reason of the InvalidSpec for a refused option."""

# The operator sets the cluster, the repository, the connections and the paths.
_OURS = (
    r"repo|stanza|config(-.*)?|cmd(-.*)?|lock-path|spool-path|log-.*|tls-.*"
    r"|pg\d*-.*|repo\d*-(host|path|type|s3|gcs|azure|storage|sftp|cipher)(-.*)?|help|version|exec-id|remote-type"
    r"|beta|neutral-umask|job-retry.*"
)
_FORBIDDEN = {
    # A backup of a stopped server, or one without its WAL, cannot be restored to a consistent state.
    "backup": re.compile(rf"{_OURS}|force|online|stop-auto|set|archive-check|archive-mode-check"),
    "restore": re.compile(rf"{_OURS}|target-action|link-map|link-all|recovery-option|archive-mode|force"),
}
_DATA = re.compile(r"[./]*(base|global|pg_(?!log\b)\w*|PG_VERSION|backup_label|tablespace_map)(/.*)?|[./]*")
"""What a server cannot start without, or has lost data without, relative to the data directory."""
_BOOLEAN = re.compile(r"y|n|")
_SECONDS = re.compile(r"\d+(\.\d+)?|\d+(ms|[smhdw])")
_NUMBER = re.compile(r"\d{1,4}")
_TEXT = re.compile(r".+")
# What is left of the options of `pgbackrest restore`, and what their values look like: pgBackRest itself
# refuses any other only when the cluster has been stopped. It has no --dry-run: see `without_dry_run`.
_RESTORE = {
    "buffer-size": re.compile(
        r"(16|32|64|128|256|512)k(i?b)?|(1|2|4|8|16)m(i?b)?"
        r"|16384|32768|65536|131072|262144|524288|1048576|2097152|4194304|8388608|16777216",
        re.IGNORECASE,
    ),
    "compress-level-network": re.compile(r"\d"),
    "db-exclude": _TEXT,
    "db-include": _TEXT,
    "delta": _BOOLEAN,
    "dry-run": _BOOLEAN,
    "io-timeout": _SECONDS,
    "process-max": re.compile(r"[1-9]\d{0,2}"),
    "protocol-timeout": _SECONDS,
    "sck-block": _BOOLEAN,
    "sck-keep-alive": _BOOLEAN,
    "set": re.compile(r"latest|\d{8}-\d{6}F(_\d{8}-\d{6}[DI])?"),
    "tablespace-map": re.compile(r"[^=]+=.+"),
    "tablespace-map-all": _TEXT,
    "target": _TEXT,
    "target-exclusive": _BOOLEAN,
    "target-timeline": re.compile(r"current|latest|\d+|0x[0-9a-fA-F]+"),
    "tcp-keep-alive-count": _NUMBER,
    "tcp-keep-alive-idle": _NUMBER,
    "tcp-keep-alive-interval": _NUMBER,
    "type": _TEXT,
}
_REPEATED = ("db-exclude", "db-include", "tablespace-map")
_NAME = re.compile(r"--(?:(?:no|reset)-)?([a-z0-9][a-z0-9-]*)")
OUR_ANNOTATIONS = "percona.com/"
_TYPES = {
    "backup": ("full", "diff", "incr"),
    "restore": ("default", "immediate", "lsn", "name", "none", "preserve", "standby", "time", "xid"),
}


def backup(options: Iterable[str]) -> list[str]:
    """Return the arguments for `pgbackrest backup`; InvalidSpec names a refused option."""
    return _arguments("backup", options)


def restore(options: Iterable[str]) -> list[str]:
    """Return the arguments for `pgbackrest restore`; InvalidSpec names a refused option."""
    return _arguments("restore", options)


def is_dry_run(arguments: Sequence[str]) -> bool:
    """Whether the arguments of a restore ask for its checks only."""
    return any(argument in ("--dry-run", "--dry-run=y") for argument in arguments)


def without_dry_run(arguments: Sequence[str]) -> list[str]:
    """The arguments that are pgBackRest's own."""
    return [one for one in arguments if re.fullmatch(r"--(no-|reset-)?dry-run(=.*)?", one) is None]


def option_value(arguments: Sequence[str], name: str) -> str | None:
    """Return the last value of an option in `arguments`, which `backup` or `restore` returned; else None."""
    prefix = f"--{name}="
    values = (
        argument.removeprefix(prefix) for argument in reversed(arguments) if argument.startswith(prefix)
    )
    return next(values, None)


def _arguments(command: str, options: Iterable[str]) -> list[str]:
    arguments: list[str] = []
    for option in options:
        _append(command, arguments, option)
    for argument in arguments:
        _check(command, argument)
    if command == "restore":
        _check_restore(arguments)
    return arguments


def _append(command: str, arguments: list[str], option: str) -> None:
    """Split an entry as a shell would; `--name value` becomes the unambiguous `--name=value`."""
    try:
        parts = shlex.split(option)
    except ValueError as error:
        raise InvalidSpec(f"options: cannot parse {option!r}: {error}", reason=REASON) from None
    for part in parts:
        if part.startswith("-"):
            arguments.append(part)
        elif arguments and "=" not in arguments[-1]:
            arguments[-1] += f"={part}"
        else:
            raise InvalidSpec(
                f"options: {part!r} in {option!r} is not part of an option of pgbackrest {command}; "
                "write --name=value, and quote a value with spaces",
                reason=REASON,
            )


def _check(command: str, argument: str) -> None:
    name, _, given = argument.partition("=")
    match = _NAME.fullmatch(name)
    if match is None or "\0" in argument or "\n" in argument:
        raise InvalidSpec(f"options: {name!r} is not an option of pgbackrest {command}", reason=REASON)
    if _FORBIDDEN[command].fullmatch(match[1]):
        raise InvalidSpec(f"options: {name} is not allowed: {_why(match[1])}", reason=REASON)
    if match[1] == "type" and given not in _TYPES[command]:
        raise InvalidSpec(
            f"options: --type={given} is not a type of pgbackrest {command}; use one of "
            f"{', '.join(_TYPES[command])}",
            reason=REASON,
        )
    if match[1] == "exclude" and _DATA.fullmatch(given):
        raise InvalidSpec(
            f"options: --exclude={given} is not allowed: the backup would lack data, and its restore, too",
            reason=REASON,
        )
    if match[1] == "annotation" and given.startswith(OUR_ANNOTATIONS):
        raise InvalidSpec(
            f"options: --annotation={given.partition('=')[0]} is not allowed: annotations with the prefix "
            f"{OUR_ANNOTATIONS} are reserved for the operator",
            reason=REASON,
        )


def _check_restore(words: Sequence[str]) -> None:
    """Refuse what pgBackRest does not know, by name and by value."""
    seen: set[str] = set()
    for word in words:
        option, _, given = word.partition("=")
        name, off = option.removeprefix("--"), False
        if name not in _RESTORE:
            name, off = re.sub(r"^(no|reset)-", "", name), True
        if name not in _RESTORE:
            near = difflib.get_close_matches(name, _RESTORE, 1)
            hint = f"; is it --{near[0]}?" if near else f"; it knows {', '.join(_RESTORE)}"
            raise InvalidSpec(
                f"options: {option} is not an option of pgbackrest restore that can be used{hint}",
                reason=REASON,
            )
        if off and ("=" in word or (option.startswith("--no-") and _RESTORE[name] is not _BOOLEAN)):
            raise InvalidSpec(f"options: {word} cannot be used: --{name} cannot be negated so", reason=REASON)
        # `--option=` has no value, which is not the same as `--option`.
        if not off and (_RESTORE[name].fullmatch(given) is None or word.endswith("=")):
            raise InvalidSpec(f"options: {word} has no value that --{name} may have", reason=REASON)
        if name in seen and name not in _REPEATED:
            raise InvalidSpec(f"options: --{name} is given more than once", reason=REASON)
        seen.add(name)


def _why(name: str) -> str:
    if name == "repo":
        return "spec.repoName selects the repository"
    if name == "stanza" or re.match(r"pg\d*-", name):
        return "spec.pgCluster selects the cluster"
    return "the operator sets it"
