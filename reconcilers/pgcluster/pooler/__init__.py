"""pgBouncer: its objects, its pause and its conditions.

Imports `state`, `pods`, `instances.build_services` and `lifecycle.decide_pause`.
Start with `build_pgbouncer.desired`.
"""
