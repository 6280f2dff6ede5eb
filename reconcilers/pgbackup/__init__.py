"""The controller of PerconaPGBackup: takes one backup for each object, and removes it with the object.

Owns the backup and expire Jobs, the Lease of a cluster's repositories and the status of PerconaPGBackups.
Imports `reconcilers.jobs`, and of `reconcilers.pgcluster` the packages `state`, `backups`, `pods`,
`bootstrap` and `lifecycle`.
Start with `controller.PGBackups`, then `decide_state`, the state machine, and `observe`, its input.
"""

from reconcilers.pgbackup.controller import PGBackups
from reconcilers.pgbackup.watches import watches

__all__ = ["PGBackups", "watches"]
