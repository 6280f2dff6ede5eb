"""Roles, databases, grants, extensions and the user's initial SQL inside PostgreSQL.

Imports `state`, `patroni.build_dynamic_config` and, for initial SQL, `credentials.read_references`.
Start with `act_sql.act`, which runs the script of `build_sql` on the primary.
"""
