"""The data of a new cluster, from a backup or from volumes; which instances may run during a restore.

Imports `state`, `pods`, `lifecycle.decide_pause` and `rollout.decide_rolling_update`.
Start with `decide_source` and `decide_restore_gate`; `reconcilers.pgrestore` carries out restores.
"""
