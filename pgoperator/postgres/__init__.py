"""Facts about PostgreSQL, pgBackRest and pgBouncer as text: values in, text out, no I/O.

* `sql`, `scram`, `passwords`   what is said to the database, and its secrets
* `parameters`, `hba`           what the server is configured with
* `pgbackrest`, `pgbouncer`     configuration files, written by `ini`
"""
