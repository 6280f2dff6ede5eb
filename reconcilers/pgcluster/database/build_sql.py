"""The SQL that reconciles roles, databases, grants and extensions with the spec. Pure."""

from pgoperator import naming
from pgoperator.errors import InvalidSpec
from pgoperator.postgres import pgbouncer, sql
from reconcilers.pgcluster.database import decide_extensions, decide_users
from reconcilers.pgcluster.state.findings import Problem
from reconcilers.pgcluster.state.view import View

PSQL = (
    "psql",
    "--no-psqlrc",
    "--quiet",
    "--tuples-only",
    "--no-align",
    "--set=ON_ERROR_STOP=1",
    "--file=-",
    "postgres",
)


def roles(view: View) -> tuple[list[sql.Role], list[Problem]]:
    """The valid roles, and a problem for each invalid one, which is left out."""
    valid: list[sql.Role] = []
    problems = []
    for user in decide_users.effective(view.cluster):
        # Without a usable Secret the role keeps its password.
        verifier = view.secrets.get(view.user_secrets[user.name], {}).get("verifier")
        role = sql.Role(
            name=user.name,
            verifier=verifier.decode() if verifier is not None else None,
            options="" if user.name == "postgres" else user.options,
            databases=() if user.name == "postgres" else user.databases,
            watches=user.name == naming.MONITOR_USER,
            grant_public=user.grant_public_schema_access,
        )
        try:
            sql.check_role(role)
        except InvalidSpec as error:
            problems.append(Problem("InvalidUser", f"spec.users, user {user.name!r}: {error}"))
        else:
            valid.append(role)
    return valid, problems


def reconcile_script(view: View) -> str:
    """The SQL that reconciles the database with the spec; invalid users and extensions are left out."""
    users = decide_users.effective(view.cluster)
    valid, _ = roles(view)
    pooler = None
    if view.cluster.spec.pg_bouncer is not None:
        verifier = view.secrets[naming.pgbouncer(view.name)]["pgbouncer-verifier"].decode()
        config = view.cluster.spec.pg_bouncer.config
        lookup = pgbouncer.lookup_database(config.global_options, config.databases)
        pooler = sql.Pooler(verifier, view.cluster.spec.pg_bouncer.expose_superusers, lookup)
    return sql.reconcile_script(
        valid,
        decide_users.databases(tuple(user for user in users if user.name in {role.name for role in valid})),
        schemas=view.cluster.spec.auto_create_user_schema,
        pooler=pooler,
        extensions=_extensions(view),
        major=view.cluster.spec.postgres_version,
        libraries=decide_extensions.candidates(view),
        # Only the role that the operator created, as its remaining Secret shows.
        gone=[naming.MONITOR_USER] if view.observed.has_monitor and decide_users.MONITOR not in users else [],
    )


def report_script(view: View) -> str:
    """The read-only SQL: progress of replicas, configuration in force, libraries of the image."""
    return sql.report_script(
        extensions=_extensions(view),
        major=view.cluster.spec.postgres_version,
        libraries=decide_extensions.candidates(view),
    )


def _extensions(view: View) -> dict[str, bool]:
    """The desired extensions; with switches that exclude each other, all extensions stay as they are."""
    try:
        return decide_extensions.desired(view)
    except InvalidSpec:
        # `decide_extensions.verdict` and the dynamic configuration report it.
        return {}
