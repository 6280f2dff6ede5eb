"""Which variables a PerconaPGBackup or PerconaPGRestore may give its Job (`spec.containerOptions`). Pure.

Its author may have no other right in the namespace. The Job has the repositories, the key that opens the
databases, and for a restore the data. So variables that make a program run code or read another file
(BASH_ENV, LD_PRELOAD, PGBACKREST_CMD) are refused, and so is any Secret or ConfigMap: the cluster's author
names those.
"""

import re
from collections.abc import Iterator

from pgoperator.api.cluster import PGCluster
from pgoperator.api.common import Environment
from pgoperator.kube.manifest import Manifest

# Options of pgBackRest that change speed and patience, not what is read, written, executed or restored.
_TUNING = re.compile(
    "PGBACKREST_(ARCHIVE_TIMEOUT|BUFFER_SIZE|COMPRESS_(LEVEL|LEVEL_NETWORK|TYPE)|(DB|IO|PROTOCOL)_TIMEOUT"
    "|LOG_LEVEL_(CONSOLE|STDERR)|MANIFEST_SAVE_THRESHOLD|PRIORITY|PROCESS_MAX|SCK_(BLOCK|KEEP_ALIVE)"
    "|START_FAST|TCP_KEEP_ALIVE_(COUNT|IDLE|INTERVAL))|TZ|LANG|LC_[A-Z]+"
)
# Limits of `restore.sh`. Bash evaluates them, and a number cannot contain a command.
_SECONDS = re.compile("(RETRY|STALL)_SECONDS")


def refusal(options: Environment | None, cluster: PGCluster) -> str:
    """Why the variables are refused; "" if they are not. What the cluster's spec has itself is allowed."""
    if options is None:
        return ""
    known = list(_of_cluster(cluster))
    hint = f"; write it into spec.backups.pgbackrest of cluster {cluster.name!r}"
    for variable in options.env:
        name, value = variable["name"], variable.get("value", "")
        if variable in known:
            continue
        if "valueFrom" in variable:
            return f"containerOptions: the variable {name!r} must not refer to another object{hint}"
        if _SECONDS.fullmatch(name) and not re.fullmatch("[0-9]{1,6}", value):
            return f"containerOptions: the variable {name!r} must be a whole number"
        if not _TUNING.fullmatch(name) and not _SECONDS.fullmatch(name):
            return f"containerOptions: the variable {name!r} is not allowed{hint}"
    for source in options.env_from:
        if source not in known:
            return f"containerOptions: envFrom must not name a Secret or ConfigMap{hint}"
    return ""


def _of_cluster(cluster: PGCluster) -> Iterator[Manifest]:
    settings = cluster.spec.backups.pgbackrest
    for section in (settings, settings.manual, settings.restore):
        if section is not None:
            yield from section.env
            yield from section.env_from
