"""The custom resources as pydantic models: PGCluster, PGBackup, PGRestore, PGUpgrade.

`PGCluster.parse(manifest)` converts an object of the API server, `status.to_manifest()` converts a model
back.
"""

from pgoperator.api.base import CR_VERSION, GROUP, VERSION, Condition, Manifest, ObjectMeta, Resource
from pgoperator.api.cluster import PGCluster, PGClusterSpec
from pgoperator.api.pgbackup import PGBackup
from pgoperator.api.pgrestore import PGRestore
from pgoperator.api.pgupgrade import PGUpgrade
from pgoperator.api.status import PGClusterStatus

KINDS: tuple[type[Resource], ...] = (PGCluster, PGBackup, PGRestore, PGUpgrade)

__all__ = [
    "CR_VERSION",
    "GROUP",
    "KINDS",
    "VERSION",
    "Condition",
    "Manifest",
    "ObjectMeta",
    "PGBackup",
    "PGCluster",
    "PGClusterSpec",
    "PGClusterStatus",
    "PGRestore",
    "PGUpgrade",
    "Resource",
]
