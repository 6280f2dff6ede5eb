"""The limits of pgBouncer that follow from PostgreSQL's `max_connections` and the number of poolers. Pure."""

from collections.abc import Mapping

USUAL_POOL = 20
"""pgBouncer's own `default_pool_size`."""
USUAL_CLIENTS = 100
"""pgBouncer's own `max_client_conn`."""
CLIENTS_PER_CONNECTION = 10
MOST_CLIENTS = 10_000
"""Each client costs memory, about 50 kB with TLS, in a pod that may have a limit."""

_POOL = ("default_pool_size", "max_db_connections", "min_pool_size", "reserve_pool_size")


def sizes(max_connections: int, poolers: int, databases: int) -> dict[str, str]:
    """Limits of each of `poolers` pods; `databases`: how many databases the users of the spec have.

    A fifth of `max_connections`, at least 10, stays for superusers, Patroni, exporters and clients past
    pgBouncer. The rest is divided among the pods, and in each among the databases. But no database gets fewer
    than pgBouncer's usual 20 while the pod's share allows it: databases are rarely all busy at once.
    """
    share = max(1, (max_connections - max(10, max_connections // 5)) // max(1, poolers))
    pool = max(share // max(1, databases), min(share, USUAL_POOL))
    clients = min(max(USUAL_CLIENTS, CLIENTS_PER_CONNECTION * share), MOST_CLIENTS)
    return {
        "default_pool_size": str(pool),
        "max_db_connections": str(pool),
        "max_client_conn": str(clients),
    }


def beside(ours: Mapping[str, str], theirs: Mapping[str, str], *, entries: bool) -> dict[str, str]:
    """The limits of `ours` that do not counteract the user's settings (`theirs`).

    `entries`: the user has entries for databases or users, or a file, which may have pool sizes of their own.
    """
    own_pools = entries or any(name in theirs for name in _POOL)
    return {name: value for name, value in ours.items() if not (own_pools and name == "max_db_connections")}
