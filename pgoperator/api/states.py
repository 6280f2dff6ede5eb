"""The words of a backup's and a restore's `status.state`, as in Percona Operator, and of a condition."""

from typing import Final

STARTING: Final = "Starting"
RUNNING: Final = "Running"
SUCCEEDED: Final = "Succeeded"
FAILED: Final = "Failed"
FINISHED = (SUCCEEDED, FAILED)
"""States after which nothing is done for the object any more."""

BROKEN_PAGES: Final = "BackupHasBrokenPages"
"""Type of the condition of a backup and of its cluster: pgBackRest found pages with wrong checksums."""
