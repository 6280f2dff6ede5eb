"""Which replicas follow: they stream, and have caught up with what the primary had when they began to.

A stream alone says little: a replica that was made from a backup streams while it still replays what came
after it, and shows a past in which its users' tables do not exist. So the first look that sees it stream sets
a goal, the primary's position in the write-ahead log at that moment; once it has replayed that far, it
follows. A goal does not move, so that a primary under load never keeps a replica from reaching it.
"""

from pgoperator.postgres.sql import Facts
from reconcilers.pgcluster.memory import Memory
from reconcilers.pgcluster.view import Instance, View


def follows(instance: Instance, memory: Memory) -> bool:
    """Whether a replica is as good as its primary, but for what is on its way."""
    return _uid(instance) in memory.following


def unseen(view: View, memory: Memory) -> list[Instance]:
    """Replicas that are ready and not known to follow."""
    return [i for i in _ready_replicas(view) if not follows(i, memory)]


def review(view: View, memory: Memory) -> None:
    """Forget what no longer holds: a pod that is not ready, a stream that Patroni says has ended.

    Patroni writes a member's state once in a round. Its word counts against a replica only after it has
    spoken for it: until then it simply has not come.
    """
    ready = {_uid(i): i for i in _ready_replicas(view)}
    streaming = {uid for uid, i in ready.items() if i.member.streams}
    if memory.at is None and view.cluster.status.state == "ready":
        # An operator that has just started believes its predecessor.
        memory.following |= streaming
    broken = memory.heard & (ready.keys() - streaming)
    kept = ready.keys() - broken
    memory.heard = streaming
    memory.following &= kept
    memory.goals = {uid: goal for uid, goal in memory.goals.items() if uid in kept}


def learn(view: View, memory: Memory, facts: Facts) -> None:
    """Take in what the primary said of its replicas."""
    streams = {row.application_name: row for row in facts.replication if row.state == "streaming"}
    for instance in unseen(view, memory):
        row = streams.get(instance.pod_name)
        if row is None:
            continue
        goal = memory.goals.setdefault(_uid(instance), facts.location)
        if row.replayed is not None and row.replayed >= goal:
            memory.following.add(_uid(instance))
            del memory.goals[_uid(instance)]


def _ready_replicas(view: View) -> list[Instance]:
    return [i for i in view.observed.instances if i.is_ready and not i.is_primary]


def _uid(instance: Instance) -> str:
    return str(instance.pod["metadata"]["uid"]) if instance.pod is not None else ""
