"""A PerconaPGRestore: takes a cluster back to a backup or to a moment.

Reading order: `plan` (what comes next, a pure decision), `observe` (from what), `check` (may it begin),
`acts`, `job` and `source` (what is done), `controller`, `watches`. The instances themselves are stopped and
started by `reconcilers.pgcluster.restoring`; what happens to the data is in `files/restore.sh`.
"""

from reconcilers.pgrestore.controller import PGRestores
from reconcilers.pgrestore.watches import watches

__all__ = ["PGRestores", "watches"]
