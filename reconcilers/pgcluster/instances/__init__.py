"""The PostgreSQL instances: which exist, their StatefulSets, claims, Services, RBAC and PMM sidecar.

Imports `state`, `pods`, `backups.build_repo_host` and decisions of `bootstrap` and `lifecycle`.
Start with `decide_membership.planned`, then `build_statefulsets.desired`.
"""
