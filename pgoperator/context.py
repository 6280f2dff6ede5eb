"""The dependencies of a reconciliation."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from pgoperator.kube.apply import Applier
from pgoperator.kube.client import Client
from pgoperator.kube.events import Recorder
from pgoperator.kube.store import Store
from pgoperator.settings import Settings


@dataclass(frozen=True, slots=True)
class Context:
    """Clients to write (`client`, `applier`, `events`) and read (`store`), settings and clock."""

    client: Client
    store: Store
    applier: Applier
    events: Recorder
    settings: Settings
    clock: Callable[[], datetime]  # aware, UTC
