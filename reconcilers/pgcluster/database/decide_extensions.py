"""Extensions: which extensions a cluster should have, and which libraries they need. Pure.

The running server reports which libraries its image has. Until it has reported, the libraries of a running
cluster stay as they are. A new cluster starts with all libraries of the spec; `postgres.sh` leaves out those
that the image lacks.
"""

from pgoperator.errors import InvalidSpec
from pgoperator.postgres import parameters
from pgoperator.postgres.extensions import BUILT_IN, EXCLUSIVE, libraries
from pgoperator.postgres.sql_report import ServerReport
from reconcilers.pgcluster.state.findings import Problem
from reconcilers.pgcluster.state.view import View

# Its keys are not set up by this version.
NOT_YET = frozenset({"pg_tde"})


def enabled(view: View) -> frozenset[str]:
    """The extensions that are switched on; InvalidSpec for extensions that exclude each other."""
    switched_on = view.cluster.spec.enabled_extensions()
    if switched_on.issuperset(EXCLUSIVE):
        raise InvalidSpec(
            f"spec.extensions: {' and '.join(EXCLUSIVE)} exclude each other; disable one of them",
            reason="ExtensionsConflict",
        )
    return switched_on


def desired(view: View) -> dict[str, bool]:
    """Name in CREATE EXTENSION -> True to create it, False to drop it; other extensions stay as they are.

    An extension that is switched off and whose library the user preloads belongs to the user.
    """
    on, own = enabled(view), users_libraries(view)
    return {
        e.name: name in on
        for name, e in BUILT_IN.items()
        if name not in NOT_YET and (name in on or e.library not in own)
    }


def users_libraries(view: View) -> list[str]:
    """The libraries in the user's own `shared_preload_libraries`."""
    spec = view.cluster.spec
    dynamic = spec.patroni.dynamic_configuration.get("postgresql")
    patroni = dynamic.get("parameters") if isinstance(dynamic, dict) else None
    return parameters.preloaded(patroni if isinstance(patroni, dict) else {}, spec.config.parameters)


def candidates(view: View) -> list[str]:
    """Every library that the spec preloads or could preload when an extension is switched on."""
    return list(dict.fromkeys((*libraries(BUILT_IN), *users_libraries(view))))


def has_news(view: View, facts: ServerReport) -> bool:
    """Whether the server reported libraries of its image that the configuration does not consider yet."""
    return view.missing_libraries is None or set(facts.missing_libraries) != set(view.missing_libraries)


def waiting(view: View, facts: ServerReport) -> list[str]:
    """Libraries that the image has but that PostgreSQL loads only at its next start."""
    try:
        needed = [*users_libraries(view), *libraries(enabled(view))]
    except InvalidSpec:
        # `verdict` reports it; nothing new is configured until the spec is fixed.
        return []
    settled = {*facts.missing_libraries, *facts.preloaded}
    return [name for name in dict.fromkeys(needed) if name not in settled]


def verdict(view: View, facts: ServerReport) -> Problem | None:
    """The differences from the spec as one problem, the gravest reason first; None without any."""
    pending = waiting(view, facts)
    try:
        needed = [*users_libraries(view), *libraries(enabled(view))]
    except InvalidSpec as error:
        return Problem(error.reason, str(error))
    missing = dict.fromkeys(
        (*facts.missing_extensions, *(name for name in facts.missing_libraries if name in needed))
    )
    parts = []
    if missing:
        parts.append(("ExtensionMissing", f"{_image(view)} does not have {', '.join(sorted(missing))}"))
    parts += [
        ("ExtensionRefused", f"database {database!r}, extension {name}: {error}")
        for database, refused in facts.refused_extensions.items()
        for name, error in refused.items()
    ]
    if pending:
        parts.append(("RestartNeeded", f"PostgreSQL must be restarted to load {', '.join(pending)}"))
    if not parts:
        return None
    return Problem(parts[0][0], "; ".join(text for _, text in parts))


def _image(view: View) -> str:
    """The image of the primary, for a message."""
    primary = view.observed.primary
    containers = primary.pod["spec"]["containers"] if primary and primary.pod else []
    name = next((c["image"] for c in containers if c["name"] == "database"), "")
    return f"the image {name!r}" if name else "the image"
