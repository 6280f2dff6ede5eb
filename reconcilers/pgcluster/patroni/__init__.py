"""Patroni's configuration: the members' files, and the dynamic configuration with PostgreSQL's parameters.

Imports `state` and decisions of `bootstrap` and `database`.
Start with `build_dynamic_config`; `build_config_files` has the files, `act_dynamic_config` writes changes.
"""
