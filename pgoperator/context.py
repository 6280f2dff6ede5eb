"""What a pass is given."""

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
    """Hands (`client`, `applier`, `events`), eyes (`store`) and facts; the same for every pass."""

    client: Client
    store: Store
    applier: Applier
    events: Recorder
    settings: Settings
    clock: Callable[[], datetime]  # aware, UTC
