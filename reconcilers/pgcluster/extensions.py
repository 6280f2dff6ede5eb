"""Extensions: which a cluster shall have, which libraries that takes, and what is told of them. Pure.

What an image has is asked of the server that runs from it. Until there is an answer, the list of libraries of
a running cluster stays as it is; a new one starts with all that it wants, of which `postgres.sh` leaves out
what is not there.
"""

from pgoperator.errors import InvalidSpec
from pgoperator.postgres import parameters
from pgoperator.postgres.extensions import BUILT_IN, EXCLUSIVE, libraries
from pgoperator.postgres.sql import Facts
from reconcilers.pgcluster.problems import Problem
from reconcilers.pgcluster.view import View

# Nobody sets up its keys yet.
NOT_YET = frozenset({"pg_tde"})


def enabled(view: View) -> frozenset[str]:
    """The switches that are on; `InvalidSpec` for those that exclude one another."""
    found = view.cluster.spec.enabled_extensions()
    if found.issuperset(EXCLUSIVE):
        raise InvalidSpec(
            f"spec.extensions: {' and '.join(EXCLUSIVE)} cannot be on together",
            reason="ExtensionsConflict",
        )
    return found


def wanted(view: View) -> dict[str, bool]:
    """Name in CREATE EXTENSION -> whether it shall be there; what is not in it is left as it is.

    An extension that is switched off and whose library the user preloads is the user's own.
    """
    on, own = enabled(view), users_libraries(view)
    return {
        e.name: name in on
        for name, e in BUILT_IN.items()
        if name not in NOT_YET and (name in on or e.library not in own)
    }


def users_libraries(view: View) -> list[str]:
    """The libraries that the user preloads."""
    spec = view.cluster.spec
    dynamic = spec.patroni.dynamic_configuration.get("postgresql")
    found = dynamic.get("parameters") if isinstance(dynamic, dict) else None
    return parameters.preloaded(found if isinstance(found, dict) else {}, spec.config.parameters)


def candidates(view: View) -> list[str]:
    """Every library that may be preloaded, now or at the turn of a switch."""
    return list(dict.fromkeys((*libraries(BUILT_IN), *users_libraries(view))))


def has_news(view: View, facts: Facts) -> bool:
    """Whether the server has told of its image what the configuration does not heed yet."""
    return view.missing_libraries is None or set(facts.missing_libraries) != set(view.missing_libraries)


def waiting(view: View, facts: Facts) -> list[str]:
    """Libraries that PostgreSQL has and will load at its next start only."""
    try:
        needed = [*users_libraries(view), *libraries(enabled(view))]
    except InvalidSpec:
        # Told by whoever has to act on it; until it is mended, nothing new is configured.
        return []
    known = {*facts.missing_libraries, *facts.preloaded}
    return [name for name in dict.fromkeys(needed) if name not in known]


def verdict(view: View, facts: Facts) -> Problem | None:
    """What is not as the custom resource says, for a condition; None when everything is."""
    later = waiting(view, facts)
    try:
        needed = [*users_libraries(view), *libraries(enabled(view))]
    except InvalidSpec as error:
        return Problem(error.reason, str(error))
    lacking = dict.fromkeys(
        (*facts.missing_extensions, *(name for name in facts.missing_libraries if name in needed))
    )
    parts = []
    if lacking:
        parts.append(("ExtensionMissing", f"{_image(view)} does not have {', '.join(sorted(lacking))}"))
    parts += [
        ("ExtensionRefused", f"database {database!r}, extension {name}: {why}")
        for database, refused in facts.refused_extensions.items()
        for name, why in refused.items()
    ]
    if later:
        parts.append(("RestartNeeded", f"{', '.join(later)} waits for a restart of PostgreSQL"))
    if not parts:
        return None
    return Problem(parts[0][0], "; ".join(text for _, text in parts))


def _image(view: View) -> str:
    """The image of the primary, by name."""
    primary = view.observed.primary
    containers = primary.pod["spec"]["containers"] if primary and primary.pod else []
    name = next((c["image"] for c in containers if c["name"] == "database"), "")
    return f"the image {name!r}" if name else "the image"
