"""pgBackRest's repositories, schedules and requests of backups, and the state of the WAL archive.

Imports `state`, `pods`, `credentials.build_certificates` and `lifecycle.decide_pause`.
Start with `build_repo_host.desired`, then `inventory` and `act_backups`.
"""
