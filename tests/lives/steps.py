"""What people do to a cluster: nothing that was confirmed may be lost."""

import time
from random import Random

from tests.lives.life import Broken, Life, slowness
from tests.lives.model import Noted
from tests.support.backups import ask as ask_backup
from tests.support.backups import backed_up
from tests.support.clusters import KIND
from tests.support.kubectl import Manifest
from tests.support.switchovers import answered, ask


def scale(life: Life, dice: Random) -> None:
    """Add or remove an instance."""
    size = 5 - life.size
    life.cluster.change(lambda spec: spec["instances"][0].update(replicas=size))


def scale_poolers(life: Life, dice: Random) -> None:
    """Add or remove a pooler."""
    pooler = life.cluster.manifest["spec"]["proxy"]["pgBouncer"]
    count = 3 - pooler["replicas"]
    life.cluster.change(lambda spec: spec["proxy"]["pgBouncer"].update(replicas=count))


def pause(life: Life, dice: Random) -> None:
    """Pause, sometimes change the number of instances meanwhile or replace the operator, and resume."""
    life.cluster.change(lambda spec: spec.update(pause=True))
    life.wait("it is paused", lambda: _is_paused(life), 180)
    if pods := life.instance_names():
        raise Broken(f"the status is paused, but there are {pods}")
    chance = dice.random()
    if chance < 0.3:
        scale(life, dice)
    elif chance < 0.6:
        life.place.operator.kill()
        life.place.operator.wait()
    life.cluster.change(lambda spec: spec.update(pause=False))


def _is_paused(life: Life) -> bool:
    found = life.cluster.cr()
    current = found["status"].get("observedGeneration") == found["metadata"]["generation"]
    return current and found["status"].get("state") == "paused"


def switch(life: Life, dice: Random) -> None:
    """Ask for a switchover, sometimes to a given instance."""
    cluster, old = life.cluster, life.cluster.primary_name()
    target = dice.choice(cluster.replicas())["metadata"]["name"].removesuffix("-0")
    wanted = {"targetInstance": target} if dice.random() < 0.5 else {"targetInstance": None}
    value = f"{life.number('switchover')}-{time.monotonic_ns()}"
    ask(cluster, value, **{key: one for key, one in wanted.items() if one})
    life.wait("the switchover is answered", lambda: answered(cluster) == value, 180)
    if cluster.primary_name() == old:
        raise Broken(f"{old} is still the primary: {cluster.condition('Switchover')}")
    # Other requests choose their target themselves.
    cluster.manifest["spec"]["patroni"]["switchover"].pop("targetInstance", None)


def rename(life: Life, dice: Random) -> None:
    """Give the instance set another name: other instances replace all."""
    name = f"set{life.number('rename')}"
    life.cluster.change(lambda spec: spec["instances"][0].update(name=name))
    life.wait("the former instances are gone", lambda: _all_in(life, name), 300)


def _all_in(life: Life, name: str) -> bool:
    return all(pod.startswith(f"{life.cluster.name}-{name}-") for pod in life.instance_names())


def roll(life: Life, dice: Random) -> None:
    """Change the template of the pods."""
    memory = f"{160 + life.number('roll')}Mi"
    before = {pod["metadata"]["uid"] for pod in life.cluster.instances()}
    life.cluster.change(lambda spec: spec["instances"][0].update(resources={"requests": {"memory": memory}}))

    def replaced() -> bool:
        return not before & {pod["metadata"]["uid"] for pod in life.cluster.instances()}

    life.wait("all instances are replaced", replaced, 300)


def reload(life: Life, dice: Random) -> None:
    """Change a parameter that needs a reload."""
    _set(life, "work_mem", f"{4 + life.number('reload') % 8}MB")


def restart(life: Life, dice: Random) -> None:
    """Change a parameter that needs a restart, up or down."""
    number = life.number("restart")
    _set(life, "max_connections", str(120 + (number if number % 2 else -number)))


def _set(life: Life, name: str, value: str) -> None:
    def edit(spec: Manifest) -> None:
        dynamic = spec.setdefault("patroni", {}).setdefault("dynamicConfiguration", {})
        dynamic.setdefault("postgresql", {}).setdefault("parameters", {})[name] = value

    life.cluster.change(edit)
    life.wait(f"{name} is {value}", lambda: life.shows(name, value), 240)


def alter_system(life: Life, dice: Random) -> None:
    """Set a parameter behind the operator's back: one of the user stays, one of the operator goes."""
    cluster = life.cluster
    if dice.random() < 0.5:
        value = f"{life.number('alter')}s"
        cluster.psql(f"ALTER SYSTEM SET log_min_duration_statement = '{value}'; SELECT pg_reload_conf()")
        pod, show = cluster.primary_name(), "SHOW log_min_duration_statement"
        life.wait(f"it is {value}", lambda: cluster.psql(show, pod) == value, 60)
        return
    name, value = dice.choice((("archive_command", "/bin/false"), ("synchronous_standby_names", "nobody")))
    pod, former = cluster.primary_name(), cluster.psql(f"SHOW {name}")
    cluster.psql(f"ALTER SYSTEM SET {name} = '{value}'")
    cluster.psql("SELECT pg_reload_conf()")
    life.wait(f"{name} is {former!r} again", lambda: cluster.psql(f"SHOW {name}", pod) == former, 90)


def back_up(life: Life, dice: Random) -> None:
    """Take a backup, which becomes the target of a later restore."""
    name, kind = f"{life.cluster.name}-{life.number('backup')}", dice.choice(("full", "diff", "incr"))
    before = time.monotonic()
    ask_backup(life.cluster, name, f"--type={kind}")
    label = backed_up(life.cluster, name, 240 * slowness())
    options = ("--type=immediate", f"--set={label}")
    life.noted.append(Noted(options, before, time.monotonic()))


def recreate(life: Life, dice: Random) -> None:
    """Delete the cluster, keep its data, and create it again, perhaps with another number of instances."""
    cluster = life.cluster
    cluster.kubectl.delete(KIND, cluster.name)
    life.wait("the cluster is gone", lambda: cluster.kubectl.find(KIND, cluster.name) is None, 180)
    if dice.random() < 0.5:
        life.wait("its pods are gone", lambda: not cluster.pods(), 60)
    cluster.manifest["spec"]["instances"][0]["replicas"] = dice.choice((2, 3))
    # Otherwise the new cluster would switch over once: its status has no request yet.
    cluster.manifest["metadata"].pop("annotations", None)
    cluster.apply()
