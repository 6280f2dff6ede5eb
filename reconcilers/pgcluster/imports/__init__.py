"""Backups in the repositories that have no PerconaPGBackup get one, when an annotation of the cluster asks.

Their status is written by `reconcilers.pgbackup`, from the repository. Imports `state` and `backups`. Start
with `decide_import`, then `act_import`.
"""
