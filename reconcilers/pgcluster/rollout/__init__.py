"""Changes of running instances: switchovers, rolling updates and restarts for parameters.

Imports `state` and `pods`; only `act_handover` runs commands for Patroni and pgBouncer.
Start with `act_changes.act`, which takes one step per pass, then `decide_rolling_update.next_step`.
"""
