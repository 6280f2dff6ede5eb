"""The status of the custom resource: conditions of all packages, `status.state` and events.

Imports `state` and pure modules of all packages; no `act_` or `read_` module.
Start with `build_status.status`, then `conditions.findings`.
"""
