"""A PerconaPGBackup.

`states` decides (pure), `look` sees, `job` builds and reads Jobs, `lease` lets one work at a time, `deletion`
and `retention` end objects; `controller` puts them together and `watches` wakes it.
"""

from reconcilers.pgbackup.controller import PGBackups
from reconcilers.pgbackup.watches import watches

__all__ = ["PGBackups", "watches"]
