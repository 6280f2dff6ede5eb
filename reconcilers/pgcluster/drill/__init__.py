"""Restore drills: a backup is restored into a scratch volume, checked and removed, which proves it.

Asked for by annotations of the PerconaPGCluster. The running cluster is not touched; only the repository is
read. Imports `state`, `pods` and `backups`. Start with `decide_drill`, then `act_drill`.
"""
