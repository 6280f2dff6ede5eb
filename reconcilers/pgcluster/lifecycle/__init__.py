"""Pause, resume and deletion of a cluster; clusters that belong to another operator.

Imports `state`, `pods`, `backups.build_jobs` and, for names of Secrets, `credentials.read_user_secrets`.
Start with `act_deletion.delete` for the deletion, with `decide_pause` for a pause, and with
`decide_hands_off` for a cluster that this operator must not touch.
"""
