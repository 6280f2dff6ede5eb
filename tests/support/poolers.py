"""pgBouncer's own view."""

from pgoperator import naming
from tests.support.clusters import Cluster

_CONSOLE = "host=localhost port=5432 dbname=pgbouncer user=_crunchypgbounceradmin sslmode=require"
_SCRIPT = f'read -r PGPASSWORD; export PGPASSWORD; psql -qAt "{_CONSOLE}" -c "SHOW CONFIG"'


def shows(cluster: Cluster, pod: str, setting: str, value: str) -> bool:
    """Whether a setting has taken effect in a pod."""
    password = cluster.secret(naming.pgbouncer(cluster.name))["pgbouncer-admin-password"]
    text = cluster.kubectl.exec(pod, "bash", "-c", _SCRIPT, container="pgbouncer", stdin=password + "\n")
    found = dict(line.split("|")[:2] for line in text.splitlines() if "|" in line)
    return found[setting] == value
