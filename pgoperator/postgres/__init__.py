"""PostgreSQL, pgBackRest and pgBouncer: values in, text out, no I/O.

* `sql`, `scram`, `passwords`   psql scripts and their results, password verifiers, generated passwords
* `parameters`, `hba`           configuration of the server
* `pgbackrest`, `pgbouncer`     configuration files, rendered by `ini`
"""
