"""The controller of PerconaPGRestore: restores a cluster to a backup or a point in time, or fills a new one.

Owns the restore Job, the copy of what a source in another namespace shares, the Job that serves it
(`build_clone_server`), and the status of PerconaPGRestores.
`reconcilers.pgcluster.bootstrap.act_restore_gate` stops and starts the instances, and
`reconcilers/files/restore/restore.sh` restores the data.
Imports `reconcilers.jobs`, `reconcilers.pgbackup.lease`, and of `reconcilers.pgcluster` the packages `state`,
`backups`, `instances`, `pods`, `bootstrap` and `lifecycle`.
Start with `decide_phase`, the state machine, then `observe`, its input, and `controller`, which executes it.
`decide_archive` has the rule that a restore to the end of the archive loses no transaction.
"""

from reconcilers.pgrestore.controller import PGRestores
from reconcilers.pgrestore.watches import watches

__all__ = ["PGRestores", "watches"]
